// Paths of the built programs: beside this file in the bundle, or in dist/ when run from source.
import { fileURLToPath } from 'node:url';

const folder = import.meta.url.endsWith('.ts') ? '../dist/' : './';

/** The program of a machine process. */
export const MACHINE_PROGRAM = fileURLToPath(new URL(`${folder}machine.js`, import.meta.url));
/** The program that supervises a container in the background. */
export const SUPERVISOR_PROGRAM = fileURLToPath(new URL(`${folder}supervisor.js`, import.meta.url));
/** The guest's initial RAM file system: the agent. */
export const INITRAMFS = fileURLToPath(new URL(`${folder}initramfs.cpio`, import.meta.url));
