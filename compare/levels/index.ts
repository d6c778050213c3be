// The table of levels, from the weakest to the strongest.
import { CompareError } from '../errors.js';
import type { Level } from '../level.js';
import { cloudHypervisor } from './cloud-hypervisor.js';
import { crun } from './crun.js';
import { firecracker } from './firecracker.js';
import { gvisorKvm, gvisorPtrace, gvisorSystrap } from './gvisor.js';
import { lxc } from './lxc.js';
import { namespaces, processLevel } from './namespaces.js';
import { nspawn } from './nspawn.js';
import { qemuLevels } from './qemu.js';
import { runc, runcSeccomp } from './runc.js';
import { tsvmLevels } from './tsvm.js';

export const LEVELS: readonly Level[] = [
  processLevel,
  namespaces,
  runc,
  runcSeccomp,
  crun,
  nspawn,
  lxc,
  gvisorPtrace,
  gvisorSystrap,
  gvisorKvm,
  ...qemuLevels,
  firecracker,
  cloudHypervisor,
  ...tsvmLevels,
];

/**
 * Returns the levels of the names. A name may be given twice: then a level is compared with itself.
 * @throws CompareError `unknown-level`
 */
export function levelsOf(names: readonly string[]): Level[] {
  return names.map((name) => {
    const level = LEVELS.find((each) => each.name === name);
    if (level !== undefined) return level;
    const known = LEVELS.map((each) => each.name).join(', ');
    throw new CompareError('unknown-level', `no level is named ${JSON.stringify(name)}: use ${known}`);
  });
}
