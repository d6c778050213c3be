// The levels of OCI runtimes: one configuration (runtime-spec 1.0, config.md) for all of them.
import { chownSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../programs/index.js';
import { type Bundle, type CommandLine, environmentOf, FOLDER, type Level, type Missing } from '../level.js';
import type { SandboxNetwork } from '../network.js';
import { removeCgroups } from './cgroups.js';
import { type HeldMounts, holdMounts, isRoot } from './mounts.js';
import type { OciSeccomp } from './seccomp.js';
import { versionOf } from './version.js';

/** Of the capabilities that Docker gives by default, the ones that `runc spec` gives. */
const CAPABILITIES = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE'];
const MASKED = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/sys/firmware',
  '/proc/scsi',
];
const READ_ONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

interface OciOptions {
  /** Global options of the runtime, before the name of its command. */
  words?: readonly string[];
  /** A script of mounts that the runtime needs for a network. */
  networkMounts?: string;
  /** More of them, for a sandbox without a network. */
  disconnected?: readonly string[];
  /**
   * Words of the runtime for a host that has cgroup v1 beside v2, if it refuses such a host. Then it
   * sees v2 alone, without controllers.
   */
  withoutCgroups?: readonly string[];
  /** See `PreparedLevel.faces`. */
  faces?: RegExp;
  /** A user namespace, as an ordinary user's containers have. */
  userNamespace?: boolean;
  /** Makes the filter of system calls. */
  seccomp?(capabilities: readonly string[]): OciSeccomp;
}

interface OciLevel {
  name: string;
  summary: string;
  program: string;
  /** The Debian package of the program. */
  package: string;
  options?: OciOptions;
  missing?(): Promise<Missing | undefined> | Missing | undefined;
}

/** Returns true if the host has cgroup v2 alone. */
const hasUnifiedCgroups = (): boolean => existsSync('/sys/fs/cgroup/cgroup.controllers');

interface Features {
  inUserNamespace: boolean;
  limitsMemory: boolean;
  seccomp?: OciSeccomp;
}

/** Users of root's containers with a user namespace: no distribution assigns them, nor does the jail. */
const USERS = { first: 2_130_771_968, count: 65_536 };

/** One user for an ordinary user, who may map no others. */
function mapping(own: number | undefined) {
  const [hostID, size] = isRoot() ? [USERS.first, USERS.count] : [own, 1];
  return [{ containerID: 0, hostID, size }];
}

function configuration(
  { rootfs, config, memory, shared }: Bundle,
  command: readonly string[],
  { inUserNamespace, limitsMemory, seccomp }: Features,
  network?: SandboxNetwork,
) {
  const mount = (destination: string, type: string, options: readonly string[] = []) => {
    return { destination, type, source: type, options: ['nosuid', ...options] };
  };
  const capabilities = Object.fromEntries(
    ['bounding', 'effective', 'permitted'].map((set) => [set, CAPABILITIES] as const),
  );
  const [ids, groups] = [mapping(process.geteuid?.()), mapping(process.getegid?.())];
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: command,
      env: Object.entries(environmentOf(config)).map(([name, value]) => `${name}=${value}`),
      cwd: '/',
      capabilities,
      noNewPrivileges: true,
    },
    root: { path: rootfs, readonly: true },
    hostname: 'compare',
    mounts: [
      mount('/proc', 'proc'),
      mount('/dev', 'tmpfs', ['strictatime', 'mode=755', 'size=65536k']),
      mount('/dev/pts', 'devpts', ['noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620']),
      mount('/tmp', 'tmpfs', ['mode=1777']),
      { destination: FOLDER, type: 'bind', source: shared, options: ['bind', 'rw', 'nosuid', 'nodev'] },
      ...(inUserNamespace ? [] : [mount('/sys', 'sysfs', ['noexec', 'nodev', 'ro'])]),
    ],
    linux: {
      ...(inUserNamespace ? { uidMappings: ids, gidMappings: groups } : {}),
      ...(limitsMemory ? { resources: { memory: { limit: memory }, devices: [{ allow: false, access: 'rwm' }] } } : {}),
      namespaces: ['pid', 'network', 'ipc', 'uts', 'mount', ...(inUserNamespace ? ['user'] : [])].map((type) => {
        return { type, ...(type === 'network' && network && { path: network.path }) };
      }),
      ...(seccomp && { seccomp }),
      maskedPaths: MASKED,
      readonlyPaths: READ_ONLY,
    },
  };
}

const ONLY_CGROUP_V2 = 'mount -t cgroup2 cgroup2 /sys/fs/cgroup';

function entering(mounts: HeldMounts | undefined, program: string): readonly [string, ...string[]] {
  return mounts === undefined ? [program] : [...mounts.enter(), program];
}

/** Makes a level of an OCI runtime. */
export function ociLevel({ name, summary, program, package: source, options = {}, missing }: OciLevel): Level {
  return {
    name,
    summary,
    missing() {
      if (findProgram(program) === undefined) {
        return { reason: `${program} is not installed`, advice: `apt-get install ${source}` };
      }
      return missing?.();
    },
    async prepare(bundle, signal) {
      const path = findProgram(program) ?? program;
      const version = await versionOf(path, signal);
      const state = join(bundle.folder, 'state');
      mkdirSync(state);
      const inUserNamespace = options.userNamespace === true || !isRoot();
      const withoutCgroups = hasUnifiedCgroups() ? undefined : options.withoutCgroups;
      // A user without a cgroup of their own cannot limit memory.
      const limitsMemory = isRoot() && withoutCgroups === undefined;
      // The container's root writes in it.
      if (inUserNamespace && isRoot()) chownSync(bundle.shared, USERS.first, USERS.first);
      const seccomp = options.seccomp?.(CAPABILITIES);
      const features = { inUserNamespace, limitsMemory, ...(seccomp && { seccomp }) };
      const mounts = withoutCgroups && isRoot() ? await holdMounts(signal, ONLY_CGROUP_V2) : undefined;
      // Where mounts are refused, the runtime says what it lacks.
      const networkMounts =
        options.networkMounts && isRoot()
          ? await holdMounts(signal, options.networkMounts).catch(() => undefined)
          : undefined;
      const env = { PATH: process.env.PATH, XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR };
      const call = (...words: readonly string[]): CommandLine => {
        return {
          words: [
            ...entering(mounts, path),
            '--root',
            state,
            ...(options.words ?? []),
            ...(withoutCgroups ?? []),
            ...words,
          ],
          env,
        };
      };
      const runWords = (id: string, command: readonly string[], network?: SandboxNetwork) => {
        const folder = join(bundle.folder, id);
        mkdirSync(folder);
        const text = JSON.stringify(configuration(bundle, command, features, network));
        writeFileSync(join(folder, 'config.json'), text);
        return ['run', '--bundle', folder, id];
      };
      return {
        version,
        limitsMemory,
        places: [bundle.folder],
        ...(options.faces && { faces: options.faces }),
        start: (id, command) => call(...(options.disconnected ?? []), ...runWords(id, command)),
        connect(id, command, network) {
          const { words, env } = call(...runWords(id, command, network));
          return { words: [...(networkMounts?.enter() ?? []), ...words], env };
        },
        exec: (id, _pid, command) => call('exec', id, ...command),
        remove(id) {
          const { words, env } = call('delete', '--force', id);
          return { words: isRoot() ? removeCgroups(id, words) : words, env };
        },
        async [Symbol.asyncDispose]() {
          for (const each of [mounts, networkMounts]) await each?.[Symbol.asyncDispose]();
        },
      };
    },
  };
}
