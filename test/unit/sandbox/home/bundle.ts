// Bundles programs for tests that kill a process, or let several compete.
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

const root = fileURLToPath(new URL('../../../..', import.meta.url));

/**
 * Bundles the text of a module, whose imports are relative to the root of the project, into a
 * program.
 * @returns the environment that the program needs
 */
export function bundleProgram(contents: string, outfile: string): NodeJS.ProcessEnv {
  buildSync({
    stdin: { contents, resolveDir: root },
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: ['koffi'],
    define: { 'import.meta.url': 'importMetaUrl' },
    banner: { js: "const importMetaUrl = require('node:url').pathToFileURL(__filename).href;" },
    outfile,
  });
  return { ...process.env, NODE_PATH: `${root}/node_modules` };
}
