// Where the files of this installation are: those of a checkout, or of the package that npm has
// installed. No other file of the product computes such a path, except for bin/.
import { fileURLToPath } from 'node:url';

/** The folder of what the build writes: the bundles' own, or dist/ when run from source. */
const DIST = new URL(import.meta.url.endsWith('.ts') ? '../dist/' : './', import.meta.url);

/** Returns the path of a file that the build writes. */
export function builtFile(name: string): string {
  return fileURLToPath(new URL(name, DIST));
}

/** Returns the path of a file of the source that is installed too. */
export function sourceFile(name: string): string {
  return fileURLToPath(new URL(`../${name}`, DIST));
}
