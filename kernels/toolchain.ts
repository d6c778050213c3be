// Checks for the programs and headers that a kernel build needs, and names their Debian packages.
import { execa } from 'execa';
import { findProgram } from '../programs/index.js';
import { KernelError } from './errors.js';

/** Programs, and the Debian package of each. */
const PROGRAMS: Record<string, string> = {
  gcc: 'gcc',
  make: 'make',
  ld: 'binutils',
  flex: 'flex',
  bison: 'bison',
  bc: 'bc',
  perl: 'perl',
  tar: 'tar',
  patch: 'patch',
  gzip: 'gzip',
  xz: 'xz-utils',
};

/** Headers of the libraries that the build's tools link with. */
const HEADERS: Record<string, string> = { 'stdlib.h': 'libc6-dev', 'libelf.h': 'libelf-dev' };

/** @throws KernelError that names every missing package */
export async function checkToolchain(): Promise<void> {
  const missing = missingPrograms();
  if (!missing.includes('gcc')) missing.push(...(await missingHeaders()));
  if (missing.length > 0)
    throw new KernelError(`a kernel build needs more packages: apt-get install ${missing.join(' ')}`);
}

function missingPrograms(): string[] {
  return Object.entries(PROGRAMS)
    .filter(([program]) => findProgram(program) === undefined)
    .map(([, owner]) => owner);
}

async function missingHeaders(): Promise<string[]> {
  const missing: string[] = [];
  for (const [header, owner] of Object.entries(HEADERS)) {
    const { failed } = await execa('gcc', ['-E', '-'], { input: `#include <${header}>\n`, reject: false });
    if (failed) missing.push(owner);
  }
  return missing;
}
