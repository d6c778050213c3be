// What npm installs is what the lock names, byte for byte, and runs no code while it is installed.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const project = fileURLToPath(new URL('../../..', import.meta.url));

interface Package {
  link?: boolean;
  resolved?: string;
  integrity?: string;
}

test('the lock has the SHA-512 of each package, and none comes from elsewhere than a registry', () => {
  const { packages } = JSON.parse(readFileSync(`${project}/package-lock.json`, 'utf8')) as {
    packages: Record<string, Package>;
  };
  const installed = Object.entries(packages).filter(([path, { link }]) => path.includes('node_modules/') && !link);
  expect(installed.length).toBeGreaterThan(100);
  const loose = installed.filter(
    ([, { resolved = 'https:', integrity = '' }]) => !integrity.startsWith('sha512-') || !resolved.startsWith('https:'),
  );
  expect(loose.map(([path]) => path)).toEqual([]);
});

test("npm runs no package's script at installation, also without an option", () => {
  expect(readFileSync(`${project}/.npmrc`, 'utf8').split('\n')).toContain('ignore-scripts=true');
});
