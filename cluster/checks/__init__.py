"""What `cluster doctor` looks at: one file for each check, in the order they are shown."""

from cluster.checks import (
    cache,
    clock,
    cpu_limits,
    cpu_speed,
    disk_space,
    disk_speed,
    exposure,
    java,
    link_speed,
    memory,
    names,
    open_files,
    ports,
    ssh,
    swap,
)

CHECKS = tuple(
    module.CHECK
    for module in (
        ssh,
        clock,
        names,
        disk_space,
        memory,
        swap,
        open_files,
        java,
        ports,
        exposure,
        cache,
        cpu_limits,
        link_speed,
        disk_speed,
        cpu_speed,
    )
)
