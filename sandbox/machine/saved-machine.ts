// A saved machine on the disk: a folder with the file of its memory, that of the rest of its state,
// and a manifest, which is written last. Whoever reads it trusts nothing of it before all of it is
// checked. What differs is refused in one line.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import { sourceFile } from '../../installation/index.js';
import { type MachineSpec, SAVED_MEMORY, SAVED_STATE } from '../../vmm/machine.js';
import { integer, nullable, parseState, record, text } from '../../vmm/saved-state.js';
import { fileError, SandboxError } from '../errors.js';
import { isSealed, readRecord, sealed, syncFolder, writeSynced } from '../home/records.js';
import { MACHINE_PROGRAM } from '../programs.js';
import { type CheckedFile, changeOf, checkedFile, checkFile, fileIdentity } from './checked-file.js';
import { copyDisk, syncFile } from './copy-disk.js';
import { type FileChecksum, fileChecksum, sparseChecksum } from './file-checksum.js';
import { fileDigest } from './file-digest.js';
import { MachineFiles } from './machine-files.js';

const VERSION = 4;
const MANIFEST = 'manifest.json';
const MEMORY = 'memory';
const STATE = 'state.json';
/** End the name of a folder that is being made, and of one that is being removed. */
const NEW = '.new';
const REMOVED = '.removed';

/** What the guest sees of its machine, each as JSON. */
interface VisibleMachine {
  cpus: string;
  memory: string;
  disks: string;
  shares: string;
  network: string;
  /** Of its network. A clone has others. */
  addresses: string;
  vsock: string;
}

/** What a saved machine must find again. */
interface Identity {
  /** Version of tsvm, and SHA-256 of the program of its machines. */
  tsvm: string;
  program: string;
  /** Model of the host's CPU, and its features. */
  cpu: string;
  features: string;
  /** SHA-256 of the guest's kernel. */
  kernel: string;
  machine: VisibleMachine;
}

/** Which program runs a machine. */
export type ProgramIdentity = Pick<Identity, 'tsvm' | 'program'>;

/** What the owner of a machine must remember of the container in it. */
export interface SavedContainer {
  /** The agent's id of its first process. */
  process: number;
  /** Milliseconds until its time limit. */
  timeLeft: number | null;
}

/** An identity, and the files of `program` and `kernel`: while they are the same, so are the digests. */
interface FoundIdentity extends Identity {
  programFile: string;
  kernelFile: string;
}

interface Manifest extends FoundIdentity {
  version: number;
  /** RFC 3339. */
  created: string;
  container: SavedContainer;
  memory: CheckedFile;
  state: CheckedFile;
  /** SHA-256 of all the others, as JSON. */
  sha256: string;
}

const anyText = text(/^/, 'text');
const checkManifest = record<Manifest>({
  version: integer(VERSION, VERSION),
  created: anyText,
  tsvm: anyText,
  program: anyText,
  cpu: anyText,
  features: anyText,
  kernel: anyText,
  machine: record<VisibleMachine>({
    cpus: anyText,
    memory: anyText,
    disks: anyText,
    shares: anyText,
    network: anyText,
    addresses: anyText,
    vsock: anyText,
  }),
  container: record<SavedContainer>({
    process: integer(1, 2 ** 32 - 1),
    timeLeft: nullable(integer(0, Number.MAX_SAFE_INTEGER)),
  }),
  memory: checkedFile,
  state: checkedFile,
  programFile: anyText,
  kernelFile: anyText,
  sha256: anyText,
});

/** Removes what a process left that was killed while it made or removed a saved machine at `path`. */
export function sweepSavedMachine(path: string): void {
  for (const end of [NEW, REMOVED]) rmSync(`${path}${end}`, { recursive: true, force: true });
}

/**
 * Removes the saved machine at `path`. It is there whole or not at all, also after a power failure.
 * @throws Error of the file system
 */
export function removeSavedMachine(path: string): void {
  const aside = `${path}${REMOVED}`;
  renameSync(path, aside);
  syncFolder(dirname(path));
  rmSync(aside, { recursive: true, force: true });
}

/**
 * Makes the files in `folder` that a machine with so many bytes of memory is saved to.
 * @throws SandboxError `no-space`, `state`
 */
export function newMachineFiles(folder: string, memory: number): MachineFiles {
  const files = new MachineFiles();
  const add = (name: string, file: string, size: number) => {
    const path = join(folder, file);
    files.add(name, openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600));
    truncateSync(path, size);
  };
  try {
    add(SAVED_MEMORY, MEMORY, memory);
    add(SAVED_STATE, STATE, 0);
    return files;
  } catch (cause) {
    files[Symbol.dispose]();
    throw fileError(`cannot write ${folder}`, cause);
  }
}

/** A saved machine that is being written. Disposing of it removes it, unless it is kept. */
export class UnfinishedMachine implements Disposable {
  readonly #path: string;
  readonly #aside: string;

  /** @param path of its folder, which appears once all of it is on the disk. @throws SandboxError `no-space`, `state` */
  constructor(path: string) {
    this.#path = path;
    this.#aside = `${path}${NEW}`;
    sweepSavedMachine(path);
    try {
      mkdirSync(this.#aside, { mode: 0o700 });
    } catch (cause) {
      throw fileError(`cannot make ${this.#aside}`, cause);
    }
  }

  /** The files for a machine with so many bytes of memory. @throws SandboxError `no-space`, `state` */
  files(memory: number): MachineFiles {
    return newMachineFiles(this.#aside, memory);
  }

  /** Bytes of its files on the disk. */
  get written(): number {
    return [MEMORY, STATE].reduce((sum, file) => sum + statSync(join(this.#aside, file)).blocks * 512, 0);
  }

  /**
   * Replaces the files by copies that no other process has open: what is copied does not change any
   * more.
   * @throws SandboxError `no-space`, `state`
   */
  async replaceFiles(): Promise<void> {
    for (const file of [MEMORY, STATE]) {
      const path = join(this.#aside, file);
      await copyDisk(path, `${path}${NEW}`);
      renameSync(`${path}${NEW}`, path);
    }
  }

  /**
   * Finishes it. Afterwards all of it is on the disk, under its name.
   * @param disk path of the disk of the writable layer, which is written out too
   * @throws SandboxError `no-space`, `state`
   */
  async keep(spec: MachineSpec, container: SavedContainer, disk: string | undefined): Promise<void> {
    try {
      const [memoryPath, statePath] = [join(this.#aside, MEMORY), join(this.#aside, STATE)];
      for (const path of [memoryPath, statePath]) chmodSync(path, 0o400);
      const [memory, state, identity] = await Promise.all([
        checkFile(memoryPath, sparseChecksum),
        checkFile(statePath, fileChecksum),
        identify(spec),
      ]);
      const created = new Date().toISOString();
      const manifest: Manifest = sealed({ version: VERSION, created, ...identity, container, memory, state });
      if (disk !== undefined) await syncFile(disk);
      writeSynced(join(this.#aside, MANIFEST), JSON.stringify(manifest));
      syncFolder(this.#aside);
      renameSync(this.#aside, this.#path);
      this.#syncName();
    } catch (cause) {
      throw fileError(`cannot write ${this.#path}`, cause);
    }
  }

  /**
   * If that fails, the container runs on: its memory of now must not be there beside its disk of
   * later.
   */
  #syncName(): void {
    try {
      syncFolder(dirname(this.#path));
    } catch (error) {
      renameSync(this.#path, this.#aside);
      throw error;
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#aside, { recursive: true, force: true });
  }
}

/** A saved machine that continues, or of which a clone does. */
export class SavedMachine {
  readonly #path: string;

  private constructor(
    path: string,
    readonly container: SavedContainer,
    /** The machine process's, to be sent before it boots. */
    readonly files: MachineFiles,
    /** Others may come from it, at the same time too. */
    readonly isClone: boolean,
  ) {
    this.#path = path;
  }

  /**
   * Opens the saved machine at `path`, and checks all of it.
   * @param spec of the machine that is to continue
   * @param isClone the machine has addresses of its own
   * @throws SandboxError `snapshot`
   */
  static async open(path: string, spec: MachineSpec, isClone = false): Promise<SavedMachine> {
    const files = new MachineFiles();
    const add = async (name: string, file: string, written: CheckedFile, checksumOf: typeof fileChecksum) => {
      const fd = openSync(file, constants.O_RDONLY);
      files.add(name, fd);
      await verify(fd, file, written, checksumOf);
    };
    try {
      const manifest = readManifest(path);
      compare(manifest, await identify(spec, manifest), isClone);
      await add(SAVED_MEMORY, join(path, MEMORY), manifest.memory, sparseChecksum);
      await add(SAVED_STATE, join(path, STATE), manifest.state, fileChecksum);
      return new SavedMachine(path, manifest.container, files, isClone);
    } catch (cause) {
      files[Symbol.dispose]();
      throw new SandboxError('snapshot', messageOf(cause), { cause });
    }
  }

  /**
   * Removes it, before its containers can change a disk: from now on it cannot be continued again. The
   * machine has its files.
   */
  remove(): void {
    removeSavedMachine(this.#path);
  }
}

function readManifest(path: string): Manifest {
  let found: object | undefined;
  try {
    found = readRecord(join(path, MANIFEST));
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
  if (found === undefined) throw new RangeError(`the saved machine has no whole ${MANIFEST}`);
  const { version } = { version: undefined, ...found };
  if (version !== VERSION)
    throw new RangeError(
      `the saved machine has version ${String(version)}, not ${VERSION}: another release of tsvm made it`,
    );
  if (!isSealed(found)) throw new RangeError(`the saved machine is damaged: its ${MANIFEST} has another SHA-256`);
  return parseState('manifest', checkManifest, found);
}

/** @throws RangeError that says what differs */
function compare(saved: Identity, now: Identity, isClone: boolean): void {
  if (saved.tsvm !== now.tsvm) throw new RangeError(`the machine was saved by ${saved.tsvm}, and this is ${now.tsvm}`);
  if (saved.program !== now.program) throw new RangeError(`the machine was saved by another build of ${now.tsvm}`);
  if (saved.cpu !== now.cpu) throw new RangeError(`the machine was saved on another CPU: ${saved.cpu}, not ${now.cpu}`);
  if (saved.features !== now.features) throw new RangeError(`the machine was saved on a CPU with other features`);
  if (saved.kernel !== now.kernel) throw new RangeError("the machine was saved with another guest's kernel");
  for (const [part, was] of Object.entries(saved.machine)) {
    if (isClone && part === 'addresses') continue;
    if (was !== Object.entries(now.machine).find(([name]) => name === part)?.[1]) {
      throw new RangeError(`the machine was saved with other ${part}`);
    }
  }
}

async function verify(
  fd: number,
  path: string,
  written: CheckedFile,
  checksumOf: (path: string) => Promise<FileChecksum>,
): Promise<void> {
  const found = await changeOf(fd, written, checksumOf);
  if (found === undefined) return;
  const what = found.size === written.size ? 'another checksum' : `${found.size} bytes`;
  throw new RangeError(`the saved machine is damaged: ${path} has ${what}`);
}

/** @param saved files that are still those of a saved machine have the same digests */
async function identify(spec: MachineSpec, saved?: Manifest): Promise<FoundIdentity> {
  const programFile = fileIdentity(MACHINE_PROGRAM);
  const kernelFile = fileIdentity(spec.kernel);
  const digest = async (path: string, isSame: boolean, known = '') =>
    isSame ? known : (await fileDigest(path)).sha256;
  const [program, kernel] = await Promise.all([
    digest(MACHINE_PROGRAM, programFile === saved?.programFile, saved?.program),
    digest(spec.kernel, kernelFile === saved?.kernelFile, saved?.kernel),
  ]);
  return { tsvm: version(), program, ...hostCpu(), kernel, machine: visible(spec), programFile, kernelFile };
}

/** The installation that a machine is of which starts now. */
export function programIdentity(): ProgramIdentity {
  return { tsvm: version(), program: createHash('sha256').update(readFileSync(MACHINE_PROGRAM)).digest('hex') };
}

/**
 * @param started of a machine that is to be saved
 * @throws SandboxError `snapshot` if another one is in its place: what it reads is not what the machine writes
 */
export function checkProgram(started: ProgramIdentity): void {
  const now = programIdentity();
  if (started.tsvm === now.tsvm && started.program === now.program) return;
  const which = started.tsvm === now.tsvm ? `another build of ${now.tsvm}` : now.tsvm;
  throw new SandboxError('snapshot', `the machine is of ${started.tsvm}, and ${which} is installed since`);
}

/** Name and version of this program. */
export function version(): string {
  const { version }: { version: string } = JSON.parse(readFileSync(sourceFile('package.json'), 'utf8'));
  return `tsvm ${version}`;
}

/** Model and features of the host's CPU. */
export function hostCpu(): { cpu: string; features: string } {
  const info = readFileSync('/proc/cpuinfo', 'utf8');
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(info)?.[1] ?? '';
  const [family, model, stepping] = [field('cpu family'), field('model'), field('stepping')];
  return {
    cpu: `${field('vendor_id')} family ${family} model ${model} stepping ${stepping}`,
    features: field('flags').split(' ').sort().join(' '),
  };
}

function visible({ cpus, memory, disks, shares = [], network, vsock }: MachineSpec): VisibleMachine {
  const { mac, gatewayMac, mtu, addresses, gateways } = network ?? {};
  return {
    cpus: JSON.stringify(cpus),
    memory: JSON.stringify(memory),
    disks: JSON.stringify(
      disks.map(({ id, readOnly, extents }) => [id, readOnly, extents.reduce((sum, { length }) => sum + length, 0)]),
    ),
    shares: JSON.stringify(shares.map(({ readOnly, path }) => [readOnly, path])),
    network: JSON.stringify(network === undefined ? null : [gatewayMac, mtu, gateways]),
    addresses: JSON.stringify([mac, addresses]),
    vsock: JSON.stringify(vsock.guestCid),
  };
}
