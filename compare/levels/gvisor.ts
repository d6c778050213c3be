// gVisor: a kernel in Go, as a process, answers the system calls.
import { probeMachine } from '../../sandbox/machines.js';
import { ociLevel } from './oci.js';

const SUMMARY = 'a kernel in user space answers system calls';

/**
 * It takes a network namespace with settings in /proc/sys/net/core for the host's. Since Linux 6.9 each
 * has them (https://github.com/google/gvisor/issues/10704), so it sees none.
 */
const WITHOUT_SETTINGS = `cd /proc/sys
mount -t tmpfs tmpfs /proc/sys
for each in fs kernel vm; do mkdir "/proc/sys/$each"; mount --no-canonicalize --bind "$each" "/proc/sys/$each"; done`;

function platform(name: 'ptrace' | 'systrap' | 'kvm', what: string) {
  return ociLevel({
    name: `gvisor-${name}`,
    summary: `${SUMMARY}; ${what}`,
    program: 'runsc',
    package: 'runsc',
    // The kernel in user space, and its server of files.
    options: {
      networkMounts: WITHOUT_SETTINGS,
      words: ['--platform', name],
      disconnected: ['--network', 'none'],
      faces: /^runsc-(sandbox|gofer) /,
    },
    async missing() {
      if (name !== 'kvm') return undefined;
      // On a KVM that runs no stock kernel it does not end its start.
      const { usable, reason } = await probeMachine();
      return usable ? undefined : { reason, advice: 'tsvm doctor' };
    },
  });
}

export const gvisorPtrace = platform('ptrace', 'caught by ptrace');
export const gvisorSystrap = platform('systrap', 'caught by seccomp traps');
export const gvisorKvm = platform('kvm', 'caught by KVM');
