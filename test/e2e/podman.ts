// podman of this host in namespaces of the test, with an image of its own and networks of CNI's
// plugins.
import { type ChildProcess, execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { type Answer, EngineNamespaces } from './engine-namespaces.js';
import { populateWithPerl } from './network-image.js';

const RUNTIME = fileURLToPath(new URL('../../dist/tsvm-oci', import.meta.url));
export const IMAGE = 'localhost/oci-test:1';
/** A process of the image that waits until it is asked to end, for a pod. */
const PAUSE = '/bin/pause';
const FOLDERS = ['/run/netns', '/var/lib/cni', '/run/cni', '/run/containers', '/run/tsvm-oci'];

/** Adds it to an image. @param image path of the root file system */
export function writePause(image: string): void {
  const pause = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 1000 & wait; done\n";
  writeFileSync(join(image, PAUSE), pause, { mode: 0o755 });
}

export class Podman implements Disposable {
  readonly folder = mkdtempSync('/var/tmp/tsvm-oci-');
  /** Name of a cgroup in each hierarchy, in which podman leaves its folders. */
  readonly cgroup: string;
  readonly engine: EngineNamespaces;
  readonly #global: readonly string[];

  /**
   * @param name of the cgroup
   * @param daemon what runs beside it, for a shell
   */
  constructor(name: string, daemon = 'sleep infinity') {
    const { folder } = this;
    this.cgroup = `${name}-${process.pid}`;
    chmodSync(folder, 0o711);
    const configuration = [
      ...['[containers]', 'default_ulimits=["nofile=1024:4096","nproc=1024:4096"]'],
      ...['[network]', 'network_backend="cni"', `network_config_dir="${folder}/networks"`],
    ];
    writeFileSync(join(folder, 'containers.conf'), configuration.join('\n'));
    this.#global = [
      ...['--root', join(folder, 'root'), '--runroot', join(folder, 'runroot'), '--tmpdir', join(folder, 'tmp')],
      ...['--storage-driver', 'vfs', '--cgroup-manager', 'cgroupfs', '--events-backend', 'none', '--runtime', RUNTIME],
    ];
    const env = { ...process.env, CONTAINERS_CONF: join(folder, 'containers.conf') };
    this.engine = new EngineNamespaces(FOLDERS, `ip link set lo up; ${daemon}`, env);
    const image = join(folder, 'image');
    mkdirSync(image);
    populateWithPerl(image);
    writePause(image);
    execFileSync('tar', ['-C', image, '-cf', `${image}.tar`, '.']);
    expect(this.call('import', `${image}.tar`, IMAGE)).toMatchObject({ status: 0 });
  }

  call(...words: string[]): Answer {
    return this.engine.run(['podman', ...this.#global, ...words]);
  }

  /** Starts a call. */
  start(...words: string[]): ChildProcess {
    return this.engine.start(['podman', ...this.#global, ...words]);
  }

  /** Calls the runtime. */
  runtime(...words: string[]): Answer {
    return this.engine.run([RUNTIME, ...words]);
  }

  /** Makes a pod, whose infra container brings the machine. */
  makePod(name: string, ...options: string[]): void {
    const infra = ['--infra-image', IMAGE, '--infra-command', PAUSE, '--cgroup-parent', `/${this.cgroup}`];
    expect(this.call('pod', 'create', '--name', name, ...infra, ...options)).toMatchObject({ status: 0, stderr: '' });
  }

  /** @param format a field, as `.Id` */
  inspect(name: string, format: string): string {
    return this.call('inspect', '-f', `{{${format}}}`, name).stdout.trim();
  }

  /** State folders of the runtime. */
  get states(): string[] {
    return this.engine.run(['ls', '/run/tsvm-oci']).stdout.split('\n').slice(0, -1);
  }

  /** What its containers have on this host: processes, state folders, cgroups. */
  get left(): string[] {
    const named = ['-type', 'd', '-path', `*/${this.cgroup}/*libpod-*`, '!', '-name', 'libpod-conmon-*'];
    const cgroups = execFileSync('find', ['/sys/fs/cgroup', ...named], { encoding: 'utf8' }).split('\n');
    return [...this.engine.containers, ...this.states, ...cgroups].filter((line) => line !== '');
  }

  [Symbol.dispose](): void {
    this.call('pod', 'rm', '--all', '--force', '--time', '0');
    this.call('rm', '--all', '--force', '--time', '0');
    this.engine[Symbol.dispose]();
    rmSync(this.folder, { recursive: true, force: true });
    const named = ['-depth', '-type', 'd', '-path', `*/${this.cgroup}*`];
    execFileSync('find', ['/sys/fs/cgroup', ...named, '-exec', 'rmdir', '{}', '+']);
  }
}
