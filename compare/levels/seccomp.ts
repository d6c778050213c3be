// The profile of system calls that container engines use, as an OCI runtime takes it (runtime-spec 1.0,
// config-linux.md, Seccomp): of the engines' rules, those that apply to the container.
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { parseSeccompProfile } from '../../sandbox/index.js';
import { rulesFor } from '../../seccomp/compile.js';

/** Where Podman, Buildah and CRI-O look, in their order (containers-common). */
const PROFILES = ['/etc/containers/seccomp.json', '/usr/share/containers/seccomp.json'];

/** The Debian package of the profile. */
export const PROFILE_PACKAGE = 'golang-github-containers-common';

export interface OciSeccomp {
  defaultAction: string;
  defaultErrnoRet?: number;
  architectures: readonly string[];
  syscalls: readonly { names: readonly string[]; action: string; errnoRet?: number; args?: readonly object[] }[];
}

export function findProfile(): string | undefined {
  return PROFILES.find((path) => existsSync(path));
}

/**
 * @param capabilities with `CAP_`
 * @throws SandboxError if the profile is none
 */
export function readProfile(path: string, capabilities: readonly string[], kernelRelease = release()): OciSeccomp {
  const profile = parseSeccompProfile(readFileSync(path, 'utf8'));
  const target = { capabilities: capabilities.map((name) => name.replace(/^CAP_/, '')), kernelRelease };
  const { defaultAction, defaultErrnoRet } = profile;
  return {
    defaultAction,
    ...(defaultErrnoRet === undefined ? {} : { defaultErrnoRet }),
    architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
    syscalls: rulesFor(profile, target).map(({ names, action, errnoRet, args }) => ({
      ...{ names, action },
      ...(errnoRet === undefined ? {} : { errnoRet }),
      ...(args && args.length > 0 ? { args } : {}),
    })),
  };
}
