# What the Vagrantfile does before and after Vagrant's own work, with machines that are not there: triggers.rb before|after
# COMMAND MACHINE... The machines are done in parallel, as Vagrant does them.
require "vagrant"

Machine = Struct.new(:name, :provider_name, :provider_config, :id, :config, :ssh_info, :state, keyword_init: true) do
  def communicate
    self
  end

  def execute(command)
    raise command unless command == "cat /etc/ssh/ssh_host_*_key.pub"
    yield :stdout, "ssh-ed25519 KEY-OF-#{name} root@somewhere\n"
  end
end

stage, command, *names = ARGV
environment = Vagrant::Environment.new(cwd: Dir.pwd, ui_class: Vagrant::UI::Silent)
runs = names.map do |name|
  config = environment.vagrantfile.machine_config(name.to_sym, :libvirt, environment.boxes, nil, false)[:config]
  machine = Machine.new(
    name:, provider_name: :libvirt, id: "id-of-#{name}", config:, provider_config: config.vm.get_provider_config(:libvirt),
    ssh_info: { username: "vagrant", private_key_path: ["/keys of/#{name}"] },
    state: Vagrant::MachineState.new(:not_created, "", "")
  )
  triggers = stage == "before" ? config.trigger.before_triggers : config.trigger.after_triggers
  Thread.new { triggers.select { |one| one.command == command.to_sym }.each { |one| one.ruby_block.call(environment, machine) } }
end
begin
  runs.each { |run| run.report_on_exception = false }.each(&:join)
rescue Vagrant::Errors::VagrantError => e
  abort e.message
end
