/**
 * The policy that a new site starts with. Admins replace it; `trustcast policy test` holds it to `vectors/policy/default.test.yaml`.
 *
 * In short: employees work hosted from everywhere but a hostile network, and with data on the device only where the device is managed,
 * healthy and encrypted, or inside where it is ours and nothing bad is known of it; contractors work hosted, watched and without taking anything out; nobody works where connections are opened on the way.
 */
export const defaultPolicy = `// Hosted: pixels leave the data centre, data does not.

@id("employee-hosted-inside")
permit (
  principal in Group::"employees",
  action in [Action::"data:datacenter", Action::"data:datacenter-vm", Action::"data:blade"],
  resource
) when { context.network.zone.value == "inside" };

@id("employee-hosted-outside")
@watermark("true")
@sessionMinutes("480")
permit (
  principal in Group::"employees",
  action in [Action::"data:datacenter", Action::"data:datacenter-vm"],
  resource
) when { context.network.zone.value == "outside" };

// A hostile network may be watched or meddled with; only a device that we keep healthy may show pixels there.
@id("employee-hosted-hostile")
@watermark("true")
@sessionMinutes("60")
@idleMinutes("10")
permit (
  principal in Group::"employees",
  action in Action::"data:datacenter",
  resource
) when {
  context.network.zone.value == "hostile" &&
  context.endpoint.management.value == "managed" &&
  context.endpoint.osUpdates.value == "current" &&
  context.endpoint.antivirus.value == "on" &&
  context.endpoint.firewall.value == "on"
};

@id("contractor-hosted-inside")
@watermark("true")
@sessionMinutes("480")
@clipboardMaxBytes("65536")
permit (
  principal in Group::"contractors",
  action == Action::"hosted-shared",
  resource
) when { context.network.zone.value == "inside" };

@id("contractor-hosted-outside")
@watermark("true")
@sessionMinutes("240")
@clipboardMaxBytes("65536")
permit (
  principal in Group::"contractors",
  action == Action::"hosted-shared",
  resource
) when {
  context.network.zone.value == "outside" &&
  context.endpoint.management.value == "managed" &&
  context.endpoint.osUpdates.value == "current" &&
  context.endpoint.antivirus.value == "on"
};

// On the device: data leaves the data centre, so the device must be ours, healthy, encrypted and started as expected.

@id("employee-endpoint")
@sessionMinutes("600")
permit (
  principal in Group::"employees",
  action in Action::"data:endpoint",
  resource
) when {
  context.endpoint.management.value == "managed" &&
  context.endpoint.diskEncryption.value == "on" &&
  context.endpoint.osUpdates.value == "current" &&
  context.endpoint.antivirus.value == "on" &&
  context.endpoint.firewall.value == "on"
};

// A streamed disk holds a signed system and no records; what is written to it is discarded, and its key is in memory alone, under a short
// lease. In the house it opens on every device of ours of which nothing bad is known.
@id("employee-streamed-inside")
@sessionMinutes("600")
@leaseMinutes("15")
@overlay("discard")
permit (
  principal in Group::"employees",
  action == Action::"streamed-disk",
  resource
) when {
  context.network.zone.value == "inside" &&
  context.endpoint.management.value == "managed" &&
  context.endpoint.diskEncryption.value != "off" &&
  context.endpoint.osUpdates.value != "overdue" &&
  context.endpoint.antivirus.value != "off" &&
  context.endpoint.antivirus.value != "outdated" &&
  context.endpoint.firewall.value != "off"
};

// A virtual machine of ours works on without the site until its lease ends, and keeps what is written, encrypted. So its device must be
// ours, heard of all the time, and nothing bad may be known of it.
@id("employee-vm-inside")
@sessionMinutes("600")
@leaseMinutes("240")
@overlay("keep")
permit (
  principal in Group::"employees",
  action == Action::"local-vm",
  resource
) when {
  context.network.zone.value == "inside" &&
  context.endpoint.management.value == "managed" &&
  context.endpoint.reporting.value == "current" &&
  context.endpoint.diskEncryption.value != "off" &&
  context.endpoint.osUpdates.value != "overdue" &&
  context.endpoint.antivirus.value != "off" &&
  context.endpoint.antivirus.value != "outdated" &&
  context.endpoint.edr.value != "off" &&
  context.endpoint.firewall.value != "off" &&
  context.endpoint.clock.value != "wrong"
};

@id("endpoint-is-itself")
@reason("Another machine has the key of this device, or it was put back to an older state")
forbid (principal, action in Action::"data:endpoint", resource)
when { context.endpoint.deviceKey.value == "none" };

@id("endpoint-not-on-hostile-networks")
@reason("Data may not be brought onto a network that is known to be hostile")
forbid (principal, action in Action::"data:endpoint", resource)
when { context.network.zone.value == "hostile" };

@id("endpoint-not-under-a-debugger")
@reason("A debugger is attached on this device, so nothing on it stays private")
forbid (principal, action in Action::"data:endpoint", resource)
when { context.endpoint.debugger.value == "attached" };

@id("endpoint-started-as-expected")
@reason("This device did not start the way it should")
forbid (principal, action in Action::"data:endpoint", resource)
when {
  context.endpoint.bootState.value == "changed" ||
  context.endpoint.secureBoot.value == "off"
};

@id("network-boot-inside-only")
@reason("Devices start from the network only inside the organisation")
forbid (principal, action == Action::"network-boot", resource)
unless { context.network.zone.value == "inside" };

// Workspaces in the collection "sensitive" show what must not even be seen on a device that nobody looks after.

@id("sensitive-on-managed-devices-only")
@reason("This workspace opens only on devices that your organisation manages")
forbid (
  principal,
  action in [
    Action::"data:datacenter",
    Action::"data:datacenter-vm",
    Action::"data:blade",
    Action::"data:endpoint"
  ],
  resource in Collection::"sensitive"
) unless { context.endpoint.management.value == "managed" };

// Nothing at all where somebody opens encrypted connections or meddles with the network.

@id("no-interception")
@reason("Somebody between this device and the site opens encrypted connections")
forbid (principal, action, resource)
when { context.network.interception.value == "detected" };

@id("no-tampered-network")
@reason("This network shows signs of tampering")
forbid (principal, action, resource)
when { context.network.integrity.value == "suspicious" };

// Rights inside a session.

@id("everybody-works")
permit (principal, action == Action::"input", resource)
when { principal in [Group::"employees", Group::"contractors"] };

@id("employee-copies-in")
permit (principal in Group::"employees", action == Action::"clipboard-in", resource)
unless { context.network.zone.value == "hostile" };

@id("employee-copies-out")
permit (principal in Group::"employees", action == Action::"clipboard-out", resource)
when {
  context.network.zone.value == "inside" ||
  (
    context.network.zone.value == "outside" &&
    context.endpoint.management.value == "managed" &&
    context.endpoint.diskEncryption.value == "on" &&
    context.endpoint.osUpdates.value == "current" &&
    context.endpoint.antivirus.value == "on"
  )
};

@id("contractor-copies-in")
permit (principal in Group::"contractors", action == Action::"clipboard-in", resource)
when { context.network.zone.value == "inside" };

@id("contractor-copies-nothing-out")
@reason("Contractors may not copy anything out")
forbid (principal in Group::"contractors", action == Action::"clipboard-out", resource);
`
