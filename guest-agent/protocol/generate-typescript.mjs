// The host's side of the table: types and constants, and what its codec goes by.
import { frames, groups, limits, names } from './table.mjs';

const NOTE = '// Generated from guest-agent/protocol/table.mjs by `npm run generate`: do not edit.';

const literal = (value) => JSON.stringify(value).replace(/^"(.*)"$/, (_, text) => `'${text.replaceAll("'", "\\'")}'`);

function valueType(field) {
  switch (field.kind) {
    case 'integer':
      return 'number';
    case 'flag':
      return 'boolean';
    case 'limit':
      return "number | 'unlimited'";
    case 'choice':
      return names[field.of].type;
    case 'bits':
      return `${names[field.of].type}[]`;
    case 'program':
      return 'readonly BpfInstruction[]';
    case 'group':
      return groups[field.of].type;
    default:
      return 'string';
  }
}

/** What the host sends may have properties that are undefined; the encoder leaves them out. */
function property(field, fromHost) {
  const type = field.repeated ? `${valueType(field)}[]` : valueType(field);
  const optional = field.required ? '' : '?';
  const absent = !field.required && fromHost ? ' | undefined' : '';
  const doc = field.doc[0].toUpperCase() + field.doc.slice(1);
  return [`  /** ${/[.!?]$/.test(doc) ? doc : `${doc}.`} */`, `  ${field.name}${optional}: ${type}${absent};`];
}

function header(name, { request = true }) {
  const number = ['  /** Number of the request, 1 to 65535; answers carry it. */', '  request: number;'];
  return [`  type: '${name}';`, ...(request ? number : [])];
}

const union = (type, from) => {
  const members = Object.values(frames).filter((frame) => frame.from === from);
  return `export type ${type} = ${members.map((frame) => frame.type).join(' | ')};`;
};

/** frames.generated.ts */
export function types() {
  const lines = [
    '// The frames of the agent protocol as plain objects. Specification: guest-agent/PROTOCOL.md.',
    NOTE,
    '',
  ];
  for (const [name, { value, doc }] of Object.entries(limits)) {
    lines.push(`/** ${doc} */`, `export const ${name} = ${value};`);
  }
  for (const [name, { type, doc, names: all }] of Object.entries(names)) {
    lines.push('', `/** ${doc} */`, `export const ${name} = [`);
    for (const entry of all) {
      const [text, meaning, code] = [entry].flat();
      if (meaning) lines.push(`  /** ${meaning}${code ? ` Exit code ${code}.` : ''} */`);
      lines.push(`  ${literal(text)},`);
    }
    lines.push('] as const;', `export type ${type} = (typeof ${name})[number];`);
  }
  lines.push(
    '',
    '/** An instruction of classic BPF: `struct sock_filter` (linux/filter.h). */',
    'export interface BpfInstruction {',
    '  /** 16 bits. */',
    '  code: number;',
    "  /** Instructions to skip if a jump's condition holds: 0 to 255. */",
    '  jt: number;',
    '  /** Instructions to skip if it does not: 0 to 255. */',
    '  jf: number;',
    '  /** 32 bits, unsigned. */',
    '  k: number;',
    '}',
  );
  for (const { type, doc, fields } of Object.values(groups)) {
    lines.push('', `/** ${doc} */`, `export interface ${type} {`);
    for (const field of fields) lines.push(...property(field, true));
    lines.push('}');
  }
  for (const [name, frame] of Object.entries(frames)) {
    lines.push('', `/** ${frame.doc} */`, `export interface ${frame.type} {`, ...header(name, frame));
    for (const field of frame.fields) lines.push(...property(field, frame.from === 'host'));
    lines.push('}');
  }
  lines.push('', union('HostFrame', 'host'), union('AgentFrame', 'agent'));
  lines.push('export type Frame = HostFrame | AgentFrame;', '');
  return lines.join('\n');
}

function rule(field) {
  const { tag, name, required, repeated } = field;
  const parts = [`tag: ${tag}`, `name: '${name}'`, `kind: '${field.kind === 'path' ? 'text' : field.kind}'`];
  if (field.kind === 'integer' && field.min > 0) parts.push(`min: ${field.min}`);
  if (field.max !== undefined) parts.push(`max: ${field.max}`);
  if (field.kind === 'choice') parts.push(`first: ${field.first}`);
  if (field.kind === 'choice' || field.kind === 'bits') parts.push(`names: ${field.of}`);
  if (field.kind === 'group') parts.push(`fields: ${field.of}`);
  if (required) parts.push('required: true');
  if (repeated) parts.push('repeated: true');
  return `{ ${parts.join(', ')} },`;
}

/** frame-tables.generated.ts */
export function codecTables() {
  const used = [...Object.values(groups), ...Object.values(frames)].flatMap(({ fields }) => fields);
  const lists = new Set(used.filter(({ kind }) => kind === 'choice' || kind === 'bits').map(({ of }) => of));
  const lines = [
    '// What the codec goes by: the fields of each group and of each frame.',
    NOTE,
    '',
    "import type { Fields, FrameType } from './fields.js';",
    `import { ${[...lists].sort().join(', ')} } from './frames.generated.js';`,
    '',
  ];
  for (const [name, { fields }] of Object.entries(groups)) {
    lines.push(`const ${name}: Fields = [`, ...fields.map(rule), '];', '');
  }
  lines.push('export const FRAMES: readonly FrameType[] = [');
  for (const [name, { number, from, request = true, fields }] of Object.entries(frames)) {
    lines.push(`{ number: ${number}, type: '${name}', from: '${from}', request: ${request}, fields: [`);
    lines.push(...fields.map(rule), '] },');
  }
  lines.push('];', '');
  return lines.join('\n');
}
