// Templates of --format: the part of Go's text/template that is common with Docker's commands. It
// has fields, the functions json, index, len, join, upper, lower and println, parentheses with
// fields, pipes, if and range.

import { printableJson, printableText } from '../../printable/index.js';
import { UsageError } from './errors.js';

type Render = (dot: unknown) => string;
type Evaluate = (dot: unknown) => unknown;

/** Fills in a template. @throws UsageError for an invalid template or an unknown field */
export function fillTemplate(template: string, value: unknown): string {
  return parseTemplate(template)(value);
}

/**
 * Parses a template once, for many values. What it shows is made harmless if it goes to a terminal;
 * to a pipe it goes as it is.
 * @throws UsageError; the result throws as `fillTemplate` does
 */
export function parseTemplate(template: string): Render {
  const reader: Reader<string> = { items: template.split(/(\{\{-?.*?-?\}\})/s), next: 0 };
  const render = parseBlock(reader, []);
  return process.stdout.isTTY ? (dot) => printableText(render(dot)) : render;
}

interface Reader<T> {
  items: readonly T[];
  next: number;
}

/** The next item; undefined after the last. */
function peek<T>({ items, next }: Reader<T>): T | undefined {
  return items[next];
}

/** Takes the next item; '' after the last. */
function take(reader: Reader<string>): string {
  return reader.items[reader.next++] ?? '';
}

/** Parses up to one of the actions `ends`, which it does not take; with no `ends`, everything. */
function parseBlock(reader: Reader<string>, ends: readonly string[]): Render {
  const parts: Render[] = [];
  for (let piece = peek(reader); piece !== undefined; piece = peek(reader)) {
    if (!piece.startsWith('{{')) {
      reader.next++;
      const text = piece.replaceAll('\\n', '\n').replaceAll('\\t', '\t');
      parts.push(() => text);
      continue;
    }
    const action = actionOf(piece);
    if (ends.includes(action)) break;
    reader.next++;
    parts.push(parseAction(reader, action));
  }
  if (ends.length > 0 && reader.next === reader.items.length) throw invalid(`{{${ends.at(-1)}}} is missing`);
  return (dot) => parts.map((part) => part(dot)).join('');
}

function actionOf(piece: string): string {
  return piece
    .replace(/^\{\{-?/, '')
    .replace(/-?\}\}$/, '')
    .trim();
}

function parseAction(reader: Reader<string>, action: string): Render {
  const [, keyword, condition = ''] = /^(if|range)\s+(.*)$/s.exec(action) ?? [];
  if (keyword === undefined) {
    const evaluate = parseExpression(action);
    return (dot) => show(evaluate(dot));
  }
  const evaluate = parseExpression(condition);
  const body = parseBlock(reader, ['else', 'end']);
  let otherwise: Render = () => '';
  if (actionOf(take(reader)) === 'else') {
    otherwise = parseBlock(reader, ['end']);
    reader.next++;
  }
  if (keyword === 'if') return (dot) => (isTrue(evaluate(dot)) ? body : otherwise)(dot);
  return (dot) => {
    const items = Object.values((evaluate(dot) ?? []) as object);
    return items.length > 0 ? items.map(body).join('') : otherwise(dot);
  };
}

const FUNCTIONS: Record<string, (...args: unknown[]) => unknown> = {
  json: (value) => printableJson(value ?? null),
  len: (value) => (typeof value === 'string' ? value.length : Object.keys((value ?? {}) as object).length),
  index: (value, ...keys) => keys.reduce(indexed, value),
  join: (value, separator) => (value as unknown[]).map(show).join(String(separator)),
  upper: (value) => show(value).toUpperCase(),
  lower: (value) => show(value).toLowerCase(),
  println: (...values) => `${values.map(show).join(' ')}\n`,
};

/** The token of a closing parenthesis includes the fields after it: `(index .Ports 0).HostPort`. */
const TOKEN = /\s+|("(?:[^"\\]|\\.)*"|\)(?:\.[A-Za-z_]\w*)*|[(|]|[^\s"()|]+)/gy;

function parseExpression(text: string): Evaluate {
  const tokens: string[] = [];
  let end = 0;
  for (const match of text.matchAll(TOKEN)) {
    if (match[1] !== undefined) tokens.push(match[1]);
    end = match.index + match[0].length;
  }
  if (end !== text.length) throw invalid(`'${text.slice(end)}'`);
  const reader = { items: tokens, next: 0 };
  const evaluate = parsePipeline(reader);
  if (reader.next < tokens.length) throw invalid(`'${tokens[reader.next]}' in {{${text}}}`);
  return evaluate;
}

/** A chain of calls, each of which passes its value to the next one as its last argument. */
function parsePipeline(reader: Reader<string>): Evaluate {
  let evaluate = parseCall(reader, undefined);
  while (peek(reader) === '|') {
    reader.next++;
    evaluate = parseCall(reader, evaluate);
  }
  return evaluate;
}

function parseCall(reader: Reader<string>, before: Evaluate | undefined): Evaluate {
  const name = peek(reader);
  if (name === undefined) throw invalid('an empty action');
  const call = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
  if (call === undefined) {
    if (before !== undefined) throw invalid(`unknown function ${name}`);
    return parseOperand(reader);
  }
  reader.next++;
  const args: Evaluate[] = [];
  for (let token = peek(reader); token !== undefined && !/^[|)]/.test(token); token = peek(reader)) {
    args.push(parseOperand(reader));
  }
  if (before !== undefined) args.push(before);
  if (args.length === 0) throw invalid(`${name} needs an argument`);
  return (dot) => call(...args.map((evaluate) => evaluate(dot)));
}

function parseOperand(reader: Reader<string>): Evaluate {
  const token = take(reader);
  if (token === '(') {
    const evaluate = parsePipeline(reader);
    const end = take(reader);
    if (!end.startsWith(')')) throw invalid("')' is missing");
    return (dot) => fieldNames(end.slice(1)).reduce(field, evaluate(dot));
  }
  if (token.startsWith('"')) {
    const text = token.slice(1, -1).replace(/\\(.)/g, '$1');
    return () => text;
  }
  if (/^-?\d+$/.test(token)) return () => Number(token);
  if (!/^\.(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)?$/.test(token)) throw invalid(`'${token}' is not a field`);
  const names = fieldNames(token);
  return (dot) => names.reduce(field, dot);
}

/** The names in `.NetworkSettings.Ports`; none for `.`. */
function fieldNames(path: string): string[] {
  return path.split('.').filter((name) => name !== '');
}

function field(value: unknown, name: string): unknown {
  if (value === null || value === undefined) return undefined;
  if (typeof value !== 'object' || !Object.hasOwn(value, name)) throw new UsageError(`template: no field ${name}`);
  return (value as Record<string, unknown>)[name];
}

/**
 * A missing key of a map gives an empty text, as in Go for maps of texts. Maps have no numbers as
 * keys.
 */
function indexed(value: unknown, key: unknown): unknown {
  const name = String(key);
  const isPlace = typeof key === 'number';
  if (isPlace === Array.isArray(value) && typeof value === 'object' && value !== null && Object.hasOwn(value, name)) {
    return field(value, name) ?? '';
  }
  if (isPlace) throw new UsageError(`template: index out of range: ${name}`);
  if (Array.isArray(value)) throw new UsageError(`template: the index of a list is a number, not ${name}`);
  return '';
}

/** Formats a value as Go's fmt does. */
function show(value: unknown): string {
  if (value === undefined || value === null) return '<no value>';
  if (Array.isArray(value)) return `[${value.map(show).join(' ')}]`;
  if (typeof value !== 'object') return String(value);
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `map[${entries.map(([name, of]) => `${name}:${show(of)}`).join(' ')}]`;
}

function isTrue(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}

function invalid(why: string): UsageError {
  return new UsageError(`template parsing error: ${why}`);
}
