// Paths of the built programs.
import { builtFile } from '../installation/index.js';

/** The program of a machine process. */
export const MACHINE_PROGRAM = builtFile('machine.js');
/** The program that supervises a container in the background. */
export const SUPERVISOR_PROGRAM = builtFile('supervisor.js');
/** The program that makes a template in the background. */
export const TEMPLATE_PROGRAM = builtFile('template.js');
/** The guest's initial RAM file system: the agent. */
export const INITRAMFS = builtFile('initramfs.cpio');
