// What the templates of a home may take on the host's disk.
import { sizeSetting } from '../../images/index.js';

const DEFAULT_BUDGET = 2 ** 30;

/** Bytes: `$TSVM_TEMPLATES_SIZE`, or 1 GiB. 0: none is made or used. @throws ImageError `bad-settings` */
export function templateBudget(): number {
  return sizeSetting('TSVM_TEMPLATES_SIZE') ?? DEFAULT_BUDGET;
}
