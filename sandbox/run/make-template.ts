// Makes a template: boots a machine without a container, has its agent stop it where it can be
// copied, and saves it.
import { createHash } from 'node:crypto';
import { AT_FDCWD, O_PATH, openat2, RESOLVE_NO_SYMLINKS } from '../../libc/openat2.js';
import type { MachineSpec } from '../../vmm/machine.js';
import { cgroupLimits } from '../cgroup/limits.js';
import { cgroupName } from '../cgroup/machine-cgroup.js';
import { SandboxError } from '../errors.js';
import type { Home } from '../home/home.js';
import { roomForDisk } from '../home/home-size.js';
import { SocketFolder } from '../home/socket-folder.js';
import { defaultJailMode, parseJailMode } from '../jail-mode.js';
import { type Log, SILENT } from '../log.js';
import { MachineClient } from '../machine/machine-client.js';
import { MachineOutside } from '../machine/outside.js';
import { systemCallFilter } from '../machine/system-calls.js';
import { type TemplateShape, TemplateStore, templateName, type UnfinishedTemplate } from '../machine/templates.js';
import { INITRAMFS } from '../programs.js';
import { vcpuCount } from '../spec/limits.js';
import type { RunSpec } from '../spec/run-spec.js';
import { GuestMachine, saveTimeout } from './guest-machine.js';
import { findKernel } from './kernel.js';
import { wholePages } from './machine-spec.js';
import { templateSpec } from './template-spec.js';
import { Trace } from './trace.js';

/** What a template is made with, besides its shape. */
export type TemplateOptions = Pick<RunSpec, 'kernel' | 'kernelModules' | 'cgroupParent' | 'jail'> & {
  log?: Log | undefined;
  /** If true, one that exists is left as it is. */
  keep?: boolean;
};

/** The name of the template of this shape. @throws SandboxError, ImageError */
export async function templateNameFor(shape: TemplateShape, options: TemplateOptions = {}): Promise<string> {
  const { path, modules } = await findKernel({ ...options, accel: 'kvm' });
  return templateName({ kernel: path, initramfs: INITRAMFS, modules }, shape);
}

/** The shape of a run's machine with so many CPUs and bytes of memory. */
export function sizedShape({ cpus, memory, ...devices }: TemplateShape): TemplateShape {
  return { cpus: vcpuCount(cpus), memory: wholePages(memory), ...devices };
}

/**
 * Makes the template of this shape. It replaces one that exists.
 * @returns its name; undefined while another process makes a template of this home
 * @throws SandboxError, MachineError
 */
export async function makeTemplate(
  home: Home,
  shape: TemplateShape,
  options: TemplateOptions = {},
): Promise<string | undefined> {
  const kernel = await findKernel({ ...options, accel: 'kvm' });
  const store = new TemplateStore(home.templates);
  const name = templateName({ kernel: kernel.path, initramfs: INITRAMFS, modules: kernel.modules }, shape);
  if (options.keep && store.has(name)) return name;
  using unfinished = store.begin(name);
  if (unfinished === undefined) return undefined;
  // One maker at a time has these names. A killed one's folder and cgroup are removed by the next.
  const id = createHash('sha256').update(`${home.path} ${name}`).digest('hex').slice(0, 12);
  using sockets = await SocketFolder.make(id, home.openRuntime());
  await sockets.publish();
  const folder = shape.hasShares ? unfinished.emptyFolder() : '';
  const spec = templateSpec(shape, { kernel, vsock: sockets.vsock, folder });
  await save(spec, unfinished, { home, id, sockets, options });
  await unfinished.keep(shape);
  return name;
}

interface Parts {
  home: Home;
  id: string;
  sockets: SocketFolder;
  options: TemplateOptions;
}

async function save(spec: MachineSpec, unfinished: UnfinishedTemplate, parts: Parts): Promise<void> {
  const { home, id, sockets, options } = parts;
  const { log = SILENT, cgroupParent } = options;
  const jail = options.jail === undefined ? defaultJailMode() : parseJailMode(options.jail, 'jail');
  const machine = new GuestMachine(new MachineClient({ shares: spec.shares !== undefined }), {
    trace: new Trace(''),
    log,
  });
  try {
    await machine.listen(sockets.agentSocket);
    const { cpus, memory } = spec;
    const cgroup = await machine.makeCgroup({
      name: cgroupName(id),
      parent: cgroupParent,
      limits: cgroupLimits({ memory, cpus, accel: 'kvm' }),
      onPath: () => {},
    });
    const shares = (spec.shares ?? []).map(({ path }) => openat2(AT_FDCWD, path, O_PATH, RESOLVE_NO_SYMLINKS));
    const filtered = { ...spec, systemCalls: systemCallFilter(jail) };
    const onUnbounded = (reason: string) => log.warn(reason);
    machine.boot(new MachineOutside(filtered, shares, { jail, cgroup, onUnbounded }), () => {});
    await machine.hello();
    const used = (await machine.statistics()).memory?.resident ?? memory;
    if (used > (await roomForDisk(home))) {
      throw new SandboxError('no-space', `the home has no room for ${used} bytes of memory (TSVM_HOME_SIZE)`);
    }
    await machine.freeze();
    await machine.save(unfinished.files(memory), saveTimeout(memory));
    await machine.endSaved();
  } finally {
    await machine.end();
  }
}
