// runc: containers as Docker starts them, and as an engine does that is careful.
import { CompareError } from '../errors.js';
import { ociLevel } from './oci.js';
import { findProfile, PROFILE_PACKAGE, readProfile } from './seccomp.js';

const program = { program: 'runc', package: 'runc' };

export const runc = ociLevel({ name: 'runc', summary: 'namespaces, cgroup, three capabilities', ...program });

export const runcSeccomp = ociLevel({
  name: 'runc-seccomp',
  summary: 'the same, with a user namespace and a filter of system calls',
  ...program,
  options: {
    userNamespace: true,
    seccomp(capabilities) {
      const profile = findProfile();
      if (profile === undefined) throw new CompareError('level', 'this host has no seccomp profile of an engine');
      return readProfile(profile, capabilities);
    },
  },
  missing() {
    if (findProfile() !== undefined) return undefined;
    return { reason: 'this host has no seccomp profile of an engine', advice: `apt-get install ${PROFILE_PACKAGE}` };
  },
});
