// Namespaces of mounts, networks and processes for the daemon of an engine: what it does to them is not the
// host's, and their end is that of all that it has started.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Prints the size of the terminal. Engines set it once the program runs, with any runtime. */
export const SIZE = 'until [ "$(stty size)" != "0 0" ]; do sleep 0.1; done; stty size';

/** Milliseconds for the namespaces to be there. */
const PATIENCE = 60_000;

export interface Answer {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** It never changes: waiting for it is sleep. */
const CELL = new Int32Array(new SharedArrayBuffer(4));

export class EngineNamespaces implements Disposable {
  readonly #first: ChildProcess;
  readonly #env: NodeJS.ProcessEnv;

  /**
   * Waits until the namespaces are there: what ran beside the daemon before would run on the host.
   * @param folders of the host that have other contents here, whatever the configuration of the daemon says
   * @param daemon its words, for a shell
   * @param env of the daemon, and of what runs beside it
   */
  constructor(folders: readonly string[], daemon: string, env = process.env) {
    this.#env = env;
    // They stay, empty: the removal of one would take the mount of another test from it.
    for (const folder of folders) mkdirSync(folder, { recursive: true });
    const mounts = folders.map((folder) => `mount -t tmpfs tmpfs ${folder}; `);
    const own = ['--mount', '--propagation', 'private', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'];
    const place = mkdtempSync(join(tmpdir(), 'tsvm-engine-'));
    const ready = join(place, 'ready');
    const words = [...own, 'sh', '-c', `${mounts.join('')}: >${ready}; ${daemon} & wait`];
    this.#first = spawn('unshare', words, { stdio: 'ignore', env });
    const late = performance.now() + PATIENCE;
    while (!existsSync(ready) && performance.now() < late) Atomics.wait(CELL, 0, 0, 5);
    const isThere = existsSync(ready);
    rmSync(place, { recursive: true });
    if (!isThere) throw new Error('the namespaces of the engine are not there');
  }

  /** Runs a program beside the daemon. */
  run(words: readonly string[], input: string | Buffer = ''): Answer {
    return spawnSync('nsenter', this.#inside(words), { input, encoding: 'utf8', env: this.#env });
  }

  /** Starts a program beside the daemon, whose output nobody reads. */
  start(words: readonly string[]): ChildProcess {
    return spawn('nsenter', this.#inside(words), { stdio: 'ignore', env: this.#env });
  }

  #inside(words: readonly string[]): string[] {
    const { pid } = this.#first;
    const namespaces = [`--mount=/proc/${pid}/ns/mnt`, `--net=/proc/${pid}/ns/net`];
    return [...namespaces, `--pid=/proc/${pid}/ns/pid_for_children`, '--', ...words];
  }

  /** Runs a program on a terminal of 101 columns and 33 rows. */
  onTerminal(words: readonly string[]): Answer {
    const line = words.map((word) => `'${word}'`).join(' ');
    return this.run(['script', '-qec', `stty cols 101 rows 33; ${line}`, '/dev/null']);
  }

  /** Processes of containers. One that has ended is a zombie until the first one asks. */
  get containers(): string[] {
    const listed = this.run(['ps', '-e', '-o', 'stat=,args=']).stdout.split('\n');
    return listed.filter((line) => /^[^Z]\S* +\S*(containerd-shim|tsvm-oci|node|linux|qemu)/.test(line));
  }

  [Symbol.dispose](): void {
    this.#first.kill('SIGKILL');
  }
}
