// The first part of a run: makes everything that the machine needs, and tells it to boot.
import { messageOf } from '../../errors/index.js';
import type { Accelerator, MachineSpec } from '../../vmm/machine.js';
import { type IoUse, ioLimits } from '../cgroup/io-limits.js';
import { cgroupLimits } from '../cgroup/limits.js';
import { cgroupName } from '../cgroup/machine-cgroup.js';
import type { Home } from '../home/home.js';
import { roomForDisk } from '../home/home-size.js';
import { sweepSocketFolders } from '../home/socket-folder.js';
import { acceleratorOf } from '../isolation.js';
import { defaultJailMode, parseJailMode } from '../jail-mode.js';
import type { Log } from '../log.js';
import { SavedMachine } from '../machine/saved-machine.js';
import { systemCallFilter } from '../machine/system-calls.js';
import { vcpuCount } from '../spec/limits.js';
import { DEFAULT_MEMORY, type RunSpec } from '../spec/run-spec.js';
import type { GuestMachine } from './guest-machine.js';
import { readHostNetwork } from './host-network.js';
import { findKernel } from './kernel.js';
import { layerDisk } from './layer-disk.js';
import { machineFor } from './machine-choice.js';
import { type LayerDisk, machineSpec } from './machine-spec.js';
import { type NetworkPlan, planNetwork } from './network-plan.js';
import type { Layer, RunOptions } from './run-options.js';
import { openShares, type Share } from './shares.js';
import type { Trace } from './trace.js';
import { findTemplate, type TemplateChoice, type UsedTemplate } from './used-template.js';

/** The parts of the machine that its guest must be told of. */
export interface Boot {
  /** True if the machine has a disk for the writable layer. */
  layer: boolean;
  shares: readonly Share[];
  /** Undefined if the machine has no network. */
  network: NetworkPlan | undefined;
  spec: MachineSpec;
  /** The saved machine that it continues. */
  saved: SavedMachine | undefined;
  /** The template that it was restored from. */
  template: UsedTemplate | undefined;
  /** See `TemplateChoice`. */
  makeMissing: TemplateChoice['makeMissing'] | undefined;
}

/**
 * Boots the machine of a run, or continues a saved one.
 * @throws SandboxError, ImageError; what ended the machine
 */
export async function bootMachine(
  machine: GuestMachine,
  asked: RunSpec,
  options: RunOptions,
  { trace, log }: { trace: Trace; log: Log },
): Promise<Boot> {
  const { folder, image, machineLog = 'warn', home } = options;
  const jail = asked.jail === undefined ? defaultJailMode() : parseJailMode(asked.jail, 'jail');
  const systemCalls = systemCallFilter(jail);
  const choice = await machine.whileAlive(
    machineFor({
      spec: asked,
      isSaved: options.saved !== undefined,
      jailMode: jail,
      jail: async () => {
        const report = await machine.firstJail;
        return report && { ...report, seccomp: systemCalls };
      },
      probeCache: home.probeCache,
    }),
  );
  const spec = { ...asked, accel: choice.accel };
  const kernel = await machine.whileAlive(findKernel(spec));
  folder.clear();
  const [, layer] = await machine.whileAlive(
    Promise.all([machine.listen(folder.agentSocket), options.layer && openLayer(options.layer, spec, home)]),
  );
  trace.mark('foldersMade');
  const { MachineOutside } = await machine.whileAlive(import('../machine/outside.js'));
  using shares = await openShares(spec.mounts ?? [], home);
  const wanted = options.online === false ? { mode: 'none' } : (spec.network ?? {});
  const exposed = image.config.ExposedPorts;
  const { networks, secrets, egress } = options;
  const network = planNetwork(wanted, readHostNetwork(), {
    ...{ id: folder.id, networks, exposed },
    placeholders: secrets?.placeholders,
  });
  const parts = { kernel, image, layer, shares: shares.all, network, vsock: folder.vsock, home, logLevel: machineLog };
  const filtered = { ...machineSpec(spec, parts), systemCalls };
  const cgroup = await machine.makeCgroup({
    name: cgroupName(folder.id),
    parent: spec.cgroupParent,
    limits: cgroupLimits({
      memory: spec.memory ?? DEFAULT_MEMORY,
      cpus: spec.cpus ?? 1,
      accel: acceleratorOf(spec),
      io: ioLimits(ioUses(filtered)),
    }),
    onPath: (path) => options.onCgroup?.(path),
  });
  const { saved: source } = options;
  const saved = source && (await SavedMachine.open(source.path, filtered, source.isClone));
  const templates = saved === undefined ? await findTemplate(filtered, spec, home, log) : undefined;
  const template = templates?.used;
  using restored = saved?.files ?? template?.files;
  // A saved machine needs KVM, and no emulator made ready beside it.
  const booted: MachineSpec =
    template?.spec ?? (saved === undefined ? filtered : { ...filtered, accel: 'kvm', isSaved: true });
  const outside = new MachineOutside(booted, shares.take(), {
    probeCache: home.probeCache,
    cgroup,
    egress,
    // Where nobody asked for User-Mode Linux, it has all of its jail.
    jail: choice.reason === undefined ? jail : 'require',
    noUml: choice.noUml,
    onUnbounded: (reason) => log.warn(reason),
  });
  if (restored !== undefined) outside.files.take(restored);
  const onBooted = ({ accel, reason }: { accel: Accelerator; reason: string | undefined }) => {
    if (reason !== undefined) options.onFallback?.({ accel, reason });
    if (accel === 'tcg' && vcpuCount(spec.cpus) > 1) options.onEmulatedCpus?.(vcpuCount(spec.cpus));
    log.debug('booted', { accel, ...(reason === undefined ? {} : { reason }), image: image.digest });
  };
  machine.boot(outside, onBooted, choice);
  for (const watch of shares.takeWatches()) machine.own(watch);
  sweepSocketFolders(folder.root).then(
    (swept) => swept.length > 0 && log.debug('removed the socket folders of dead runs', { swept }),
    (error) => log.warn(`cannot remove the socket folders of dead runs: ${messageOf(error)}`),
  );
  return {
    layer: layer !== undefined,
    shares: shares.all,
    network: network && named(network, template),
    spec: filtered,
    saved,
    template,
    makeMissing: templates?.makeMissing,
  };
}

/** The guest's kernel knows the hardware address of the template's machine. */
function named(network: NetworkPlan, template: UsedTemplate | undefined): NetworkPlan {
  if (template === undefined) return network;
  return { ...network, guest: { ...network.guest, mac: network.machine.mac } };
}

/** What the machine reads and writes on the host's disks. */
function ioUses({ disks, shares = [], shareRates }: MachineSpec): IoUse[] {
  return [
    ...disks.flatMap(({ readOnly, rates, extents }) =>
      // The layers of an image are beside each other.
      extents.slice(0, 1).map(({ path }) => ({ path, readOnly, rates })),
    ),
    ...[...new Set(shares.map(({ path }) => path))].map((path) => ({ path, readOnly: false, rates: shareRates })),
  ];
}

async function openLayer(layer: Layer, { disk }: RunSpec, home: Home): Promise<LayerDisk> {
  return layerDisk(layer, disk === 'memory' ? undefined : disk, await roomForDisk(home));
}
