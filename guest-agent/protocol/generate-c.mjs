// The agent's side of the table: numbers, decoded requests, and the rules of its decoder.
import { frames, groups, limits, names } from './table.mjs';

const NOTE = '// Generated from table.mjs by `npm run generate`: do not edit.';
const requests = Object.entries(frames).filter(([, { from }]) => from === 'host');
const answers = Object.entries(frames).filter(([, { from }]) => from === 'agent');

const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).replaceAll('-', '_');
const upper = (name) => snake(name).toUpperCase();
const hex = (number) => `0x${number.toString(16).padStart(2, '0')}`;
const member = (field) => field.c ?? snake(field.name);
const plain = (doc) => doc.replaceAll('`', '');

function integerType(max) {
  if (max <= 0xffff) return 'uint16_t';
  return max <= 0xffff_ffff ? 'uint32_t' : 'uint64_t';
}

/** Largest value of a field that is an integer on the wire, as a number or a C constant. */
function largest(field) {
  switch (field.kind) {
    case 'integer':
      return field.max;
    case 'choice':
      return field.first + names[field.of].names.length - 1;
    default:
      return 'UINT64_MAX';
  }
}

function memberType(field) {
  const most = largest(field);
  switch (field.kind) {
    case 'flag':
      return 'bool ';
    case 'text':
    case 'path':
      return field.repeated ? 'struct text_list ' : 'const char *';
    case 'program':
      return 'struct program ';
    case 'group':
      return `struct ${field.of}_${field.repeated ? 'list' : 'spec'} `;
    default:
      return `${typeof most === 'number' ? integerType(most) : 'uint64_t'} `;
  }
}

const isOptionalGroup = (field) => field.kind === 'group' && !field.repeated && !field.required;

function struct(name, fields) {
  const members = fields.flatMap((field) => [
    ...(isOptionalGroup(field) ? [`\tbool has_${member(field)};`] : []),
    `\t${memberType(field)}${member(field)}; // ${plain(field.doc)}`,
  ]);
  return [`struct ${name} {`, ...members, '};', ''];
}

function list(name) {
  return [`struct ${name}_list {`, `\tstruct ${name}_spec *items;`, '\tsize_t count;', '\tsize_t capacity;', '};', ''];
}

function enumeration(name, entries) {
  return [`enum ${name} {`, ...entries.map(([key, value]) => `\t${key} = ${value},`), '};', ''];
}

/** Aligns the comments behind consecutive lines, as clang-format does. */
function aligned(lines) {
  const result = [];
  for (let start = 0; start < lines.length; ) {
    let end = start;
    while (end < lines.length && /\S.* \/\/ /.test(lines[end])) end++;
    const parts = lines.slice(start, end).map((line) => line.split(/ (?=\/\/ )/));
    const width = Math.max(0, ...parts.map(([code]) => code.length));
    result.push(...parts.map(([code, ...comment]) => `${code.padEnd(width)} ${comment.join(' ')}`));
    if (end === start) result.push(lines[end++]);
    start = end;
  }
  return result;
}

/** protocol.h */
export function header() {
  const repeatedGroups = new Set(
    [...Object.values(groups), ...Object.values(frames)]
      .flatMap(({ fields }) => fields)
      .filter(({ kind, repeated }) => kind === 'group' && repeated)
      .map(({ of }) => of),
  );
  const named = Object.values(names).filter((entry) => entry.c !== undefined);
  return aligned([
    '// The protocol of PROTOCOL.md: its numbers, and its requests as the agent decodes them.',
    NOTE,
    '#ifndef TSVM_PROTOCOL_H',
    '#define TSVM_PROTOCOL_H',
    '',
    '#include <stdbool.h>',
    '#include <stddef.h>',
    '#include <stdint.h>',
    '',
    '#define AGENT_VERSION "0.1.0"',
    "// All ones on the wire; equal to the kernel's RLIM_INFINITY.",
    '#define UNLIMITED UINT64_MAX',
    '',
    'enum {',
    ...Object.entries(limits).map(([key, { value, doc }]) => `\t${key} = ${value}, // ${plain(doc)}`),
    '};',
    '',
    ...enumeration(
      'frame_type',
      Object.entries(frames).map(([name, { number }]) => [`FRAME_${upper(name)}`, hex(number)]),
    ),
    ...named.flatMap(({ c, prefix, first, names: all }) =>
      enumeration(
        c,
        all.map((entry, index) => [`${prefix}_${upper(Array.isArray(entry) ? entry[0] : entry)}`, first + index]),
      ),
    ),
    '// Tags of the frames that the agent sends.',
    'enum {',
    ...answers.flatMap(([name, { fields }]) =>
      fields.map((field) => `\tTAG_${upper(name)}_${upper(field.name)} = ${field.tag},`),
    ),
    '};',
    '',
    '// `items` ends in NULL, or is NULL if there are none.',
    'struct text_list {',
    '\tchar **items;',
    '\tsize_t count;',
    '\tsize_t capacity;',
    '};',
    '',
    '// `struct sock_filter` as the kernel has it, not aligned. `count` is 0 if the field is absent.',
    'struct program {',
    '\tconst uint8_t *instructions;',
    '\tsize_t count;',
    '};',
    '',
    ...Object.entries(groups).flatMap(([name, { doc, fields }]) => [
      `// ${plain(doc)}`,
      ...struct(`${name}_spec`, fields),
      ...(repeatedGroups.has(name) ? list(name) : []),
    ]),
    ...requests
      .filter(([, { fields }]) => fields.length > 0)
      .flatMap(([name, { doc, fields }]) => [`// ${plain(doc)}`, ...struct(`${name}_request`, fields)]),
    '// A decoded request. It owns the payload, which its texts and programs point into, and its lists.',
    '// An absent text is NULL or its preset.',
    'struct request {',
    '\tenum frame_type type;',
    '\tuint8_t *payload;',
    '\tunion {',
    ...requests.filter(([, { fields }]) => fields.length > 0).map(([name]) => `\t\tstruct ${name}_request ${name};`),
    '\t};',
    '};',
    '',
    '#endif',
    '',
  ]).join('\n');
}

const KINDS = { choice: 'integer', limit: 'integer', bits: 'integer' };

function rule(owner, field) {
  const kind = KINDS[field.kind] ?? field.kind;
  const properties = {
    tag: field.tag,
    name: `"${field.name}"`,
    kind: `FIELD_${upper(kind)}`,
    required: field.required,
    repeated: field.repeated,
    offset: `offsetof(struct ${owner}, ${member(field)})`,
  };
  if (isOptionalGroup(field)) properties.given = `offsetof(struct ${owner}, has_${member(field)})`;
  if (kind === 'integer') {
    Object.assign(properties, { size: `sizeof(${memberType(field).trim()})` });
    if (field.min ?? field.first) properties.min = field.min ?? field.first;
    properties.max = largest(field);
  }
  if (kind === 'text' || kind === 'path') properties.max = field.max;
  if (kind === 'group') properties.group = `&${field.of}_rule`;
  if (typeof field.preset === 'number') properties.preset = hex(field.preset);
  if (typeof field.preset === 'string') properties.preset_text = `"${field.preset}"`;
  const text = Object.entries(properties)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `.${key} = ${value}`)
    .join(', ');
  return `\t{ ${text} },`;
}

function groupRule(name, owner, { fields }) {
  if (fields.length === 0) return [`static const struct group_rule ${name}_rule = { .name = "${name}" };`, ''];
  return [
    `static const struct field_rule ${name}_fields[] = {`,
    ...fields.map((field) => rule(owner, field)),
    '};',
    `static const struct group_rule ${name}_rule = {`,
    `\t.name = "${name}", .size = sizeof(struct ${owner}), .fields = ${name}_fields, .count = ${fields.length},`,
    '};',
    '',
  ];
}

/** rules.c */
export function rules() {
  return [
    '// What the decoder of request.c goes by: the fields of each group and of each request.',
    NOTE,
    '#include "protocol/rules.h"',
    '',
    '// clang-format off',
    ...Object.entries(groups).flatMap(([name, group]) => groupRule(name, `${name}_spec`, group)),
    ...requests.flatMap(([name, frame]) => groupRule(`${name}_request`, `${name}_request`, frame)),
    'const struct request_rule request_rules[] = {',
    ...requests.map(([name, { fields }]) => {
      const offset = fields.length > 0 ? `, .offset = offsetof(struct request, ${name})` : '';
      return `\t{ .type = FRAME_${upper(name)}, .group = &${name}_request_rule${offset} },`;
    }),
    '};',
    '// clang-format on',
    '',
    'const size_t request_rule_count = sizeof request_rules / sizeof *request_rules;',
    '',
  ]
    .join('\n')
    .replace(/\.name = "(\w+)_request"/g, '.name = "$1"');
}
