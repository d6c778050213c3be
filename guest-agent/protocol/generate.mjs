// Writes the files that are made from table.mjs:
//
//     generate.mjs           writes the files
//     generate.mjs --check   writes nothing; exits with 1 if a file is out of date
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { header, rules } from './generate-c.mjs';
import { specification } from './generate-markdown.mjs';
import { codecTables, types } from './generate-typescript.mjs';
import { frames, groups } from './table.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const PROTOCOL = 'guest-agent/PROTOCOL.md';

/** Throws if the table breaks a rule that the decoders rely on. */
function checkTable() {
  for (const [name, { fields }] of [...Object.entries(groups), ...Object.entries(frames)]) {
    const tags = fields.map(({ tag }) => tag);
    if (new Set(tags).size !== tags.length) throw new Error(`${name}: a tag is used twice`);
    if (tags.some((tag) => !Number.isInteger(tag) || tag < 1 || tag > 0xffff)) throw new Error(`${name}: a bad tag`);
    // Its presence is a member in front of it, and the rules take offset 0 for none.
    if (fields[0]?.kind === 'group' && !fields[0].required) throw new Error(`${name}: begins with an optional group`);
    // The agent's decoder has one bit for each field.
    if (fields.length > 32) throw new Error(`${name}: more than 32 fields`);
  }
}

/** @param {string} path @param {string} source */
function formatted(path, source) {
  const biome = `${root}node_modules/.bin/biome`;
  return execFileSync(biome, ['check', '--write', `--stdin-file-path=${path}`], {
    cwd: root,
    input: source,
    encoding: 'utf8',
  });
}

function generated() {
  checkTable();
  const typescript = (path, source) => [path, formatted(path, source)];
  return [
    ['guest-agent/protocol/protocol.h', header()],
    ['guest-agent/protocol/rules.c', rules()],
    typescript('sandbox/agent/frames.generated.ts', types()),
    typescript('sandbox/agent/frame-tables.generated.ts', codecTables()),
    [PROTOCOL, specification(readFileSync(root + PROTOCOL, 'utf8'))],
  ];
}

function current(path) {
  try {
    return readFileSync(root + path, 'utf8');
  } catch {
    return undefined;
  }
}

const stale = generated().filter(([path, text]) => current(path) !== text);
if (process.argv.includes('--check')) {
  for (const [path] of stale) console.error(`${path} is out of date: npm run generate`);
  process.exitCode = stale.length > 0 ? 1 : 0;
} else {
  for (const [path, text] of stale) writeFileSync(root + path, text);
}
