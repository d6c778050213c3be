// runc: containers as Docker starts them.
import { ociLevel } from './oci.js';

export const runc = ociLevel({
  name: 'runc',
  summary: 'namespaces, cgroup, three capabilities',
  program: 'runc',
  package: 'runc',
});
