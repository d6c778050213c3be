// Programs for tests in which a process is killed or several want the same.
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

const root = fileURLToPath(new URL('../../../..', import.meta.url));

/** Makes a program of a module's text, whose imports begin at the root of the project; the environment it needs. */
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
