// What `bench -- without-kvm` compares: the same files on the host itself, in gVisor, and in tsvm's
// machines that need no KVM.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CommandLine } from '../../compare/level.js';
import { holdMounts } from '../../compare/levels/mounts.js';
import { findProgram } from '../../programs/index.js';
import { CLI } from './paths.js';
import type { WorkImage } from './without-kvm-image.js';

export interface WorkLevel extends AsyncDisposable {
  name: string;
  /** A sandbox that runs a command in the foreground. `id` is one that no other has. */
  run(id: string, command: readonly string[]): CommandLine;
  remove?(id: string): CommandLine;
}

const MEMORY = '512M';
const env = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root' };

const MOUNTS = `mount --rbind "$1" "$1"
mount --rbind /dev "$1/dev"
mount --rbind /proc "$1/proc"`;
/** A network of its own: no port of the host is taken. */
const ENTER = 'ip link set lo up && exec chroot "$@"';

async function host({ rootfs }: WorkImage): Promise<WorkLevel> {
  const mounts = await holdMounts(new AbortController().signal, MOUNTS, rootfs);
  return {
    name: 'host',
    run: (_id, command) => ({
      words: [...mounts.enter(), 'unshare', '--net', 'sh', '-c', ENTER, 'sh', rootfs, ...command],
      env,
    }),
    [Symbol.asyncDispose]: () => mounts[Symbol.asyncDispose](),
  };
}

function bundle(rootfs: string, args: readonly string[]) {
  const mount = (destination: string, type: string) => ({ destination, type, source: type });
  return {
    ociVersion: '1.0.2',
    process: {
      user: { uid: 0, gid: 0 },
      args,
      env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
      cwd: '/',
    },
    root: { path: rootfs },
    mounts: [mount('/proc', 'proc'), mount('/dev', 'tmpfs'), mount('/dev/shm', 'tmpfs')],
    linux: { namespaces: ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type })) },
  };
}

function gvisor({ rootfs }: WorkImage, folder: string): WorkLevel {
  const state = join(folder, 'runsc');
  mkdirSync(state);
  const call = (...words: string[]): CommandLine => ({
    words: ['runsc', '--root', state, '--platform', 'ptrace', '--network', 'none', '--ignore-cgroups', ...words],
    env: process.env,
  });
  return {
    name: 'runsc-ptrace',
    run(id, command) {
      const own = join(folder, id);
      mkdirSync(own);
      writeFileSync(join(own, 'config.json'), JSON.stringify(bundle(rootfs, command)));
      return call('run', '--bundle', own, id);
    },
    remove: (id) => call('delete', '--force', id),
    async [Symbol.asyncDispose]() {},
  };
}

function machine(accel: 'tcg' | 'uml', image: string): WorkLevel {
  return {
    name: accel,
    run: (id, command) => ({
      words: [
        process.execPath,
        ...[CLI, '--quiet', 'run', '--rm', '--pull=never', `--accel=${accel}`, `--memory=${MEMORY}`],
        ...['--network=none', '--user=0:0', `--name=${id}`, image, ...command],
      ],
      env: { ...process.env, TSVM_ACCEL: '', TSVM_ISOLATION: '', TSVM_JAIL: '' },
    }),
    async [Symbol.asyncDispose]() {},
  };
}

/** The levels, the host first. gVisor is left out if it is not installed. */
export async function workLevels(image: WorkImage, folder: string): Promise<WorkLevel[]> {
  const sandboxes = [machine('tcg', image.name), machine('uml', image.name)];
  return [await host(image), ...(findProgram('runsc') === undefined ? [] : [gvisor(image, folder)]), ...sandboxes];
}
