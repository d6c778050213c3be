// The reference of the SDK is complete: TypeDoc builds it from the comments in the code, without a
// warning.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const project = fileURLToPath(new URL('../..', import.meta.url));

test("the SDK's reference is made from the code, and nothing that it speaks of is left out", () => {
  // TypeDoc's warnings are errors here.
  execFileSync('npm', ['run', '--silent', 'docs'], { cwd: project, stdio: 'pipe' });
  expect(readFileSync(`${project}dist/api/classes/Sandbox.html`, 'utf8')).toContain('in a sandbox of its own');
});
