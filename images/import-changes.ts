// `docker import --change`: the Dockerfile instructions that need no build and set how an image is
// run (Dockerfile reference).

import { ImageError } from './errors.js';
import type { ImageConfig } from './types.js';

/**
 * Applies instructions in order.
 *
 * @param changes such as `CMD ["bash"]`, `ENV A=1 B="two words"`, `WORKDIR /srv`
 * @returns a new config
 * @throws ImageError `bad-change`, with Docker's message
 */
export function applyChanges(config: ImageConfig, changes: string[]): ImageConfig {
  const result = structuredClone(config);
  for (const change of changes) applyChange(result, change);
  return result;
}

function applyChange(config: ImageConfig, change: string): void {
  const [, instruction, rest] = /^\s*([A-Za-z]+)\s+(\S.*?)\s*$/s.exec(change) ?? [];
  if (instruction === undefined || rest === undefined) throw bad(change);
  switch (instruction.toUpperCase()) {
    case 'CMD':
      config.Cmd = command(rest, change);
      return;
    case 'ENTRYPOINT':
      // As in a Dockerfile, a new entry point drops the arguments of the old one.
      config.Entrypoint = command(rest, change);
      config.Cmd = [];
      return;
    case 'ENV':
      for (const [key, value] of pairs(rest, change)) {
        config.Env = config.Env.filter((variable) => !variable.startsWith(`${key}=`));
        config.Env.push(`${key}=${value}`);
      }
      return;
    case 'LABEL':
      for (const [key, value] of pairs(rest, change)) config.Labels[key] = value;
      return;
    case 'USER':
      config.User = rest;
      return;
    case 'WORKDIR':
      config.WorkingDir = rest.startsWith('/') ? rest : `${config.WorkingDir.replace(/\/$/, '')}/${rest}`;
      return;
    case 'STOPSIGNAL':
      config.StopSignal = rest;
      return;
    case 'EXPOSE':
      for (const port of words(rest, change)) add(config.ExposedPorts, exposedPort(port, change));
      return;
    case 'VOLUME':
      for (const path of rest.startsWith('[') ? list(rest, change) : words(rest, change)) add(config.Volumes, path);
      return;
    default:
      throw new ImageError('bad-change', `${instruction.toUpperCase()} is not a valid change command`);
  }
}

/** The exec form is a JSON list. Anything else is run by a shell. */
function command(text: string, change: string): string[] {
  return text.startsWith('[') ? list(text, change) : ['/bin/sh', '-c', text];
}

function list(text: string, change: string): string[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw bad(change);
  }
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) throw bad(change);
  return value;
}

/** `KEY=VALUE ...`, or the old form `KEY VALUE`, where the value is the rest of the line. */
function pairs(text: string, change: string): [string, string][] {
  const [, key, value] = /^([^\s=]+)\s+(.*)$/s.exec(text) ?? [];
  if (key !== undefined && value !== undefined) return [[key, value]];
  return words(text, change).map((word) => {
    const equals = word.indexOf('=');
    if (equals < 1) throw bad(change);
    return [word.slice(0, equals), word.slice(equals + 1)];
  });
}

/** Splits at spaces outside of quotes, and removes quotes and backslashes. */
function words(text: string, change: string): string[] {
  const found: string[] = [];
  let word: string | null = null;
  let quote = '';
  for (let i = 0; i < text.length; i++) {
    const char = text.charAt(i);
    if (quote === '' && /\s/.test(char)) {
      if (word !== null) found.push(word);
      word = null;
    } else if (char === '\\' && quote !== "'" && i + 1 < text.length) {
      word = (word ?? '') + text.charAt(++i);
    } else if (char === quote) {
      quote = '';
    } else if (quote === '' && (char === '"' || char === "'")) {
      quote = char;
      word ??= '';
    } else {
      word = (word ?? '') + char;
    }
  }
  if (quote !== '') throw bad(change);
  if (word !== null) found.push(word);
  return found;
}

function exposedPort(text: string, change: string): string {
  const match = /^(\d{1,5}(?:-\d{1,5})?)(?:\/(tcp|udp|sctp))?$/i.exec(text);
  if (!match) throw bad(change);
  return `${match[1]}/${(match[2] ?? 'tcp').toLowerCase()}`;
}

function add(items: string[], item: string): void {
  if (!items.includes(item)) items.push(item);
}

function bad(change: string): ImageError {
  return new ImageError('bad-change', `invalid change: ${change}`);
}
