// What tsvm build tells of a Dockerfile without building it: the text and the JSON of BuildKit's
// methods lint, outline and targets.
import { type Checked, excerpt, linesOf, type Outline, type Place, type Target } from '../../../build/index.js';
import { printableJson, printableLine, printableText } from '../../../printable/index.js';

export interface Source {
  /** Of the file. */
  name: string;
  text: string;
}

/** The findings of a check, each with its lines. An error is the caller's to tell. */
export function checkText({ findings, error }: Checked, source: Source): string {
  if (findings.length === 0) return error === undefined ? 'Check complete, no warnings found.\n' : '';
  const count = findings.length === 1 ? '1 warning has been found!' : `${findings.length} warnings have been found!`;
  const text = linesOf(source.text);
  const parts = findings.map(({ rule, url, detail, place }) => {
    const lines = printableText(excerpt(source.name, text, place));
    return `\nWARNING: ${rule} - ${url}\n${printableLine(detail)}\n${lines}\n`;
  });
  return `Check complete, ${count}\n${parts.join('')}`;
}

export function checkJson({ findings, error }: Checked, source: Source): string {
  return json({
    warnings: findings.map(({ rule, description, url, detail, place }) => ({
      ...{ ruleName: rule, description, url, detail, location: location(place) },
    })),
    sources: [{ filename: source.name, data: base64(source), language: 'Dockerfile' }],
    buildError: error && { message: error.message, location: error.place === undefined ? {} : location(error.place) },
  });
}

export function outlineText({ name, description, args, secrets, ssh }: Outline): string {
  const target = name === '' && description === '' ? [] : [['TARGET:', name || '(default)']];
  if (description !== '') target.push(['DESCRIPTION:', description]);
  const mounted = (title: string, all: typeof secrets) =>
    all.length === 0 ? [] : [[title, 'REQUIRED'], ...all.map(({ id, required }) => [id, required ? 'true' : ''])];
  const rows = args.map((arg) => [arg.name, arg.value ?? '', arg.description]);
  return [
    ...[columns(target, 1), columns(rows.length === 0 ? [] : [['BUILD ARG', 'VALUE', 'DESCRIPTION'], ...rows], 3)],
    ...[columns(mounted('SECRET', secrets), 3), columns(mounted('SSH', ssh), 3)],
  ]
    .map((table) => (table === '' ? '' : `${table}\n`))
    .join('');
}

export function outlineJson({ name, description, args, secrets, ssh }: Outline, source: Source): string {
  const mounted = (all: typeof secrets) =>
    full(
      all.map(({ id, required, place }) => ({ name: id, required: required || undefined, location: location(place) })),
    );
  return json({
    name: name || undefined,
    description: description || undefined,
    args: full(
      args.map((arg) => ({
        ...{ name: arg.name, description: arg.description || undefined, value: arg.value || undefined },
        location: location(arg.place),
      })),
    ),
    secrets: mounted(secrets),
    ssh: mounted(ssh),
    sources: [base64(source)],
  });
}

export function targetsText(targets: readonly Target[]): string {
  const rows = targets.map(({ name, isDefault, description }) => [
    isDefault ? (name === '' ? '(default)' : `${name} (default)`) : name,
    description,
  ]);
  return columns([['TARGET', 'DESCRIPTION'], ...rows], 1);
}

export function targetsJson(targets: readonly Target[], source: Source): string {
  return json({
    targets: targets.map(({ name, isDefault, description, base, platform, place }) => ({
      ...{ name: name || undefined, default: isDefault || undefined, description: description || undefined },
      ...{ base, platform: platform || undefined, location: location(place) },
    })),
    sources: [base64(source)],
  });
}

/** Lines whose cells begin at the same columns, with `gap` spaces between. */
function columns(rows: readonly (readonly string[])[], gap: number): string {
  const shown = rows.map((row) => row.map((cell) => printableLine(cell)));
  const widths = (shown[0] ?? []).map((_, at) => {
    return shown.reduce((widest, row) => Math.max(widest, (row[at] ?? '').length), 0) + gap;
  });
  return shown
    .map((row) => `${row.map((cell, at) => (at === row.length - 1 ? cell : cell.padEnd(widths[at] ?? 0))).join('')}\n`)
    .join('');
}

/** BuildKit leaves empty lists out. */
function full<T>(all: T[]): T[] | undefined {
  return all.length === 0 ? undefined : all;
}

function location({ line, endLine }: Place) {
  return { ranges: [{ start: { line }, end: { line: endLine } }] };
}

function base64({ text }: Source): string {
  return Buffer.from(text).toString('base64');
}

function json(value: unknown): string {
  return `${printableJson(value, 2)}\n`;
}
