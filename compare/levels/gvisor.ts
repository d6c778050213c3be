// gVisor: a kernel in Go, as a process, answers the system calls.
import { existsSync } from 'node:fs';
import { ociLevel } from './oci.js';

const SUMMARY = 'a kernel in user space answers system calls';

function platform(name: 'ptrace' | 'systrap' | 'kvm', what: string) {
  return ociLevel({
    name: `gvisor-${name}`,
    summary: `${SUMMARY}; ${what}`,
    program: 'runsc',
    package: 'runsc',
    // The kernel in user space, and its server of files.
    options: { words: ['--platform', name, '--network', 'none'], faces: /^runsc-(sandbox|gofer) / },
    missing: () => {
      if (name !== 'kvm' || existsSync('/dev/kvm')) return undefined;
      return { reason: 'this host has no /dev/kvm' };
    },
  });
}

export const gvisorPtrace = platform('ptrace', 'caught by ptrace');
export const gvisorSystrap = platform('systrap', 'caught by seccomp traps');
export const gvisorKvm = platform('kvm', 'caught by KVM');
