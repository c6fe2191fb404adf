# Prints the machines that the Vagrantfile would make, for both providers, as JSON. No provider needs to be there.
require "json"
require "vagrant"

environment = Vagrant::Environment.new(cwd: Dir.pwd, ui_class: Vagrant::UI::Silent)
machines = environment.machine_names.product(%i[virtualbox libvirt]).map do |name, provider|
  vm = environment.vagrantfile.machine_config(name, provider, environment.boxes, nil, false)[:config].vm
  own = vm.get_provider_config(provider)
  deploy = vm.provisioners.find { |one| one.name == :deploy }
  settings = own.customizations.to_h { |_, (_, _, key, value)| [key, value] } if provider == :virtualbox
  {
    machine: name, provider:, box: vm.box, hostname: vm.hostname,
    cpus: settings ? settings["--cpus"].to_i : own.cpus,
    memory_mb: settings ? settings["--memory"].to_i : own.memory,
    cap: settings && settings["--cpuexecutioncap"].to_i,
    networks: vm.networks.filter_map { |type, options| options[:ip] if type == :private_network },
    link: vm.provisioners.find { |one| one.name == :link }.config.inline[/^ExecStart=\S+ (.*)/, 1],
    deploy: deploy && [deploy.run, deploy.config.playbook, deploy.config.inventory_path, deploy.config.limit],
    folders: vm.synced_folders.reject { |_, options| options[:disabled] }.keys
  }
end
puts JSON.generate(machines)
