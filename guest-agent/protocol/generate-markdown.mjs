// The tables of PROTOCOL.md. A table stands between `<!-- table: NAME -->` and `<!-- end -->`; NAME
// is a group, a frame, or one of `types`, `errors`.
import { frames, groups, names } from './table.mjs';

/** A table with columns padded to one width. */
function table(head, rows) {
  const all = [head, head.map(() => ''), ...rows];
  const widths = head.map((_, column) => Math.max(3, ...all.map((row) => row[column].length)));
  const line = (row, fill) => `| ${row.map((cell, column) => cell.padEnd(widths[column], fill)).join(' | ')} |`;
  return all.map((row, index) => line(row, index === 1 ? '-' : ' ')).join('\n');
}

function size(bytes) {
  return bytes % (1024 * 1024) === 0 ? `${bytes / (1024 * 1024)} MiB` : `${bytes} bytes`;
}

function integerRange({ min, max }) {
  if (max === Number.MAX_SAFE_INTEGER) return min === 0 ? '' : `, from ${min}`;
  const highest = { 65535: '2^16-1', 4294967294: '2^32-2', 4294967295: '2^32-1', 4095: '4095' }[max] ?? max;
  return `, ${min} to ${highest}`;
}

function kind(field) {
  switch (field.kind) {
    case 'integer':
      return field.name === 'mode' ? 'integer, 0 to 07777' : `integer${integerRange(field)}`;
    case 'limit':
      return 'integer, 2^64-1: unlimited';
    case 'choice': {
      const last = field.first + names[field.of].names.length - 1;
      return `integer, ${field.first} to ${last}`;
    }
    case 'bits':
      return 'integer';
    case 'text':
      return `text, at most ${size(field.max)}`;
    case 'path':
      return 'path';
    case 'group':
      return `group **${field.of}**`;
    default:
      return field.kind;
  }
}

const cell = (text) => text.replaceAll('|', '\\|');

function fieldTable({ fields }) {
  if (fields.length === 0) return 'No fields.';
  return table(
    ['tag', '', 'field', 'kind', 'meaning'],
    fields.map((field) => [
      String(field.tag),
      `${field.required ? 'r' : ''}${field.repeated ? '*' : ''}`.replace('*', '\\*'),
      field.name,
      kind(field),
      cell(field.doc),
    ]),
  );
}

function typeTable() {
  return table(
    ['type', 'frame', 'from', 'meaning'],
    Object.entries(frames).map(([name, { number, from, doc }]) => [
      `0x${number.toString(16).padStart(2, '0')}`,
      `\`${name}\``,
      from,
      cell(doc),
    ]),
  );
}

function errorTable() {
  return table(
    ['kind', 'name', 'meaning', 'exit code'],
    names.ERROR_KINDS.names.map(([name, meaning, code], index) => [
      String(names.ERROR_KINDS.first + index),
      name,
      meaning,
      code === undefined ? '' : String(code),
    ]),
  );
}

function content(name) {
  if (name === 'types') return typeTable();
  if (name === 'errors') return errorTable();
  const described = name.startsWith('frame ') ? frames[name.slice('frame '.length)] : groups[name];
  if (described === undefined) throw new Error(`PROTOCOL.md: no table '${name}'`);
  return fieldTable(described);
}

/** PROTOCOL.md with its tables made anew. */
export function specification(text) {
  const found = new Set();
  const result = text.replace(/<!-- table: ([\w ]+) -->\n.*?<!-- end -->/gs, (_, name) => {
    found.add(name);
    return `<!-- table: ${name} -->\n\n${content(name)}\n\n<!-- end -->`;
  });
  const wanted = ['types', 'errors', ...Object.keys(groups), ...Object.keys(frames).map((name) => `frame ${name}`)];
  const missing = wanted.filter((name) => !found.has(name));
  if (missing.length > 0) throw new Error(`PROTOCOL.md has no table for ${missing.join(', ')}`);
  return result;
}
