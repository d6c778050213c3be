// Paths of the built programs.
import { builtFile } from '../installation/index.js';

/** The program of a machine process. */
export const MACHINE_PROGRAM = builtFile('machine.cjs');
/** The program that supervises a container in the background. */
export const SUPERVISOR_PROGRAM = builtFile('supervisor.cjs');
/** The program that makes a template in the background. */
export const TEMPLATE_PROGRAM = builtFile('template.js');
/** The program that puts values of secrets into requests. */
export const EGRESS_PROGRAM = builtFile('egress.js');
/** The guest's initial RAM file system: the agent. */
export const INITRAMFS = builtFile('initramfs.cpio');

/**
 * Returns the environment of a program that runs in the background. Node.js 20 parses the certificates of
 * NODE_EXTRA_CA_CERTS at each start, which takes four times as long as the rest, and keeps 3 MB of
 * them. Of these programs the proxy of placeholders alone speaks TLS: with the roots of Node.js, and what
 * its order names. glibc gives each thread that allocates an arena of its own, which keeps what is
 * freed in it: one for all threads saves 1 MB of an idle supervisor, and 2 MB after some commands.
 */
export function programEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, NODE_EXTRA_CA_CERTS: undefined, MALLOC_ARENA_MAX: '1' };
}
