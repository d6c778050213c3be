// What a program says of its version.
import { execFileSync } from 'node:child_process';

/** The first line, or ''. */
export function versionOf(path: string): string {
  try {
    return execFileSync(path, ['--version'], { encoding: 'utf8', timeout: 10_000 }).split('\n')[0] ?? '';
  } catch {
    return '';
  }
}
