// Proves that the agent's rooms depend on each other one way, and that no file depends on itself.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const agent = new URL('../../../guest-agent/', import.meta.url).pathname;

/** From the bottom up. A file may include headers of its own room and of rooms before it. */
const ROOMS = [
  'base',
  'archive',
  'protocol',
  'boot',
  'container',
  'tools',
  'process',
  'snapshot',
  'power',
  'control',
  'main',
];

/**
 * The agent's headers that each file includes. A header and its source are one: `process/stream`.
 */
const includes = new Map<string, Set<string>>();
for (const name of readdirSync(agent, { recursive: true, encoding: 'utf8' })) {
  if (!/\.[ch]$/.test(name)) continue;
  const file = name.slice(0, -2);
  const found = includes.get(file) ?? new Set<string>();
  for (const [, header] of readFileSync(join(agent, name), 'utf8').matchAll(/^#include "(.+)\.h"$/gm)) {
    if (header !== undefined && header !== file) found.add(header);
  }
  includes.set(file, found);
}

/** A file outside of folders is a room of its own. */
function roomOf(file: string): string {
  return file.split('/', 1)[0] ?? file;
}

/** Returns a path from a file back to itself, or undefined. */
function findCircle(file: string, path: readonly string[] = []): readonly string[] | undefined {
  if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
  for (const included of includes.get(file) ?? []) {
    const circle = findCircle(included, [...path, file]);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

test('every file is in a known room', () => {
  expect([...new Set([...includes.keys()].map(roomOf))].sort()).toEqual([...ROOMS].sort());
});

test('a room includes none of the rooms above it', () => {
  const upward = [...includes].flatMap(([file, headers]) =>
    [...headers]
      .filter((header) => ROOMS.indexOf(roomOf(header)) > ROOMS.indexOf(roomOf(file)))
      .map((header) => `${file} includes ${header}`),
  );
  expect(upward).toEqual([]);
});

test('no file includes itself through others', () => {
  expect([...includes.keys()].map((file) => findCircle(file)).filter((circle) => circle !== undefined)).toEqual([]);
});
