// crun: containers as Podman starts them.
import { ociLevel } from './oci.js';

export const crun = ociLevel({
  name: 'crun',
  summary: 'namespaces, cgroup, three capabilities; a runtime in C',
  program: 'crun',
  package: 'crun',
  options: { withoutCgroups: ['--cgroup-manager', 'disabled'] },
});
