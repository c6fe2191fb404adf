"""What the cluster's daemons say of themselves, read by HTTP into small frozen records."""
