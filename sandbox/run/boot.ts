// The first part of a run: all that a machine needs is made, and it is told to boot.
import type { TerminalSize } from '../agent/protocol.js';
import { AgentSession } from '../agent/session.js';
import type { Home } from '../home/home.js';
import { sweepSocketFolders } from '../home/socket-folder.js';
import type { Log } from '../log.js';
import type { MachineClient } from '../machine/machine-client.js';
import type { RunSpec } from '../spec/run-spec.js';
import { readHostNetwork } from './host-network.js';
import { builtKernel, type LayerDisk, machineSpec } from './machine-spec.js';
import { planNetwork } from './network-plan.js';
import type { RunOptions } from './run-options.js';
import { keptDisk, ScratchDisk } from './scratch-disk.js';
import { resolveMounts } from './shares.js';
import { startRequest } from './start-request.js';
import type { Trace } from './trace.js';

/** What booting needs of the run that it is part of. */
export interface BootContext {
  /** The host's name for the first process. */
  process: number;
  hostname: string;
  terminalSize?: TerminalSize;
  trace: Trace;
  log: Log;
  /** Rejects when the machine ends. */
  failed: Promise<never>;
  /** Keeps a resource until the run ends. */
  own<T extends Disposable>(resource: T): T;
}

/** A machine that boots, and what its agent is to be told. */
export interface Boot {
  machine: MachineClient;
  session: AgentSession;
  request: ReturnType<typeof startRequest>;
  /** The container's IPv4 address; absent without a network. */
  address?: string;
}

/** @throws SandboxError, ImageError, MachineError */
export async function bootMachine(
  machine: MachineClient,
  spec: RunSpec,
  options: RunOptions,
  context: BootContext,
): Promise<Boot> {
  const { folder, image, machineLog = 'warn', home } = options;
  const { trace, log } = context;
  const kernel = spec.kernel ?? builtKernel();
  folder.clear();
  const [session, layer] = await Promise.race([
    Promise.all([AgentSession.listen(folder.agentSocket).then(context.own), layerDisk(home, spec, options, context)]),
    context.failed,
  ]);
  trace.mark('foldersMade');
  const shares = resolveMounts(spec.mounts ?? [], home);
  const wanted = options.online === false ? { mode: 'none' } : (spec.network ?? {});
  const exposed = image.config.ExposedPorts;
  const network = planNetwork(wanted, readHostNetwork(), { id: folder.id, networks: options.networks, exposed });
  const request = startRequest(spec, {
    image,
    hostname: context.hostname,
    process: context.process,
    layer: layer !== undefined,
    shares,
    network,
    hold: options.hold,
    terminalSize: context.terminalSize,
  });

  const parts = { kernel, image, layer, shares, network, vsock: folder.vsock, home, logLevel: machineLog };
  machine.send({ type: 'boot', spec: machineSpec(spec, parts) });
  trace.mark('bootSent');
  machine.booted.then(({ accel, reason, times }) => {
    if (reason !== undefined) options.onFallback?.(reason);
    trace.markMachine(times);
    log.debug('booted', { accel, image: image.digest });
    // The machine has it open: such a disk needs no name any more, and so is gone whatever happens.
    if (layer instanceof ScratchDisk) layer[Symbol.dispose]();
  });
  sweepSocketFolders(folder.root).then(
    (swept) => swept.length > 0 && log.debug('removed what dead runs left', { swept }),
    (error) => log.warn(`cannot remove what dead runs left: ${error.message}`),
  );
  return { machine, session, request, address: network?.address };
}

async function layerDisk(
  home: Home,
  { disk }: RunSpec,
  { layer, folder }: RunOptions,
  { own }: BootContext,
): Promise<LayerDisk | undefined> {
  if (layer !== undefined) return keptDisk(layer, disk);
  return disk === undefined ? undefined : own(await ScratchDisk.create(home.path, folder.id, disk));
}
