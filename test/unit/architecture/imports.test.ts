// Imports run one way:
// - each room imports only what the table of ARCHITECTURE.md allows
// - the table allows nothing that its room does not use
// - neither files nor rooms form a circle, by values or by types
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const project = fileURLToPath(new URL('../../..', import.meta.url));

/** Folders that hold none of the product's code. */
const OTHERS = ['node_modules', 'dist', 'test', 'docs'];

/** One import of a file of the project by another. Paths are relative to the project's root. */
interface Import {
  from: string;
  to: string;
  /** Nothing is left of it at run time. */
  isType: boolean;
}

interface Room {
  name: string;
  /** Paths of the table's first column: folders, which end in a slash, and files. */
  paths: string[];
  /** Names of rooms. A room whose values may be imported gives its types too. */
  values: string[];
  types: string[];
  /** Every room may import it. */
  isCommon: boolean;
}

const inBackticks = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, word = '']) => word);
const nameOf = (path: string): string => path.replace(/\/$/, '');

/**
 * Reads the table under "The rooms". A row is `| paths | job | imports |`. The first path, without
 * its slash, is the room's name. Imports are names of rooms, `-` if there are none. Rooms after
 * `types:` are imported for their types alone. A room that every room may import says so in its
 * last column, and no other row names it.
 */
function readTable(): Room[] {
  const text = readFileSync(join(project, 'ARCHITECTURE.md'), 'utf8');
  const section = /^## The rooms\n(.*?)^## /ms.exec(text)?.[1] ?? '';
  return [...section.matchAll(/^\| (`[^|]*) \|[^|]*\| ([^|]*) \|$/gm)].map(([, first = '', imports = '']) => {
    const paths = inBackticks(first);
    const [values = '', types = ''] = imports.split('types:');
    return {
      name: nameOf(paths[0] ?? ''),
      paths,
      values: inBackticks(values),
      types: inBackticks(types),
      isCommon: imports.includes('every room may import it'),
    };
  });
}

function filesOfProject(): string[] {
  return readdirSync(project, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.') && !OTHERS.includes(entry.name))
    .flatMap(({ name }) => readdirSync(join(project, name), { recursive: true }).map((path) => `${name}/${path}`))
    .filter((path) => path.endsWith('.ts'));
}

/**
 * `import ... from`, `export ... from`, `import '...'`, and `import('...')` of a value or a type.
 */
const STATEMENT = /^(?:import|export)\s+(type\s)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm;
const CALL = /(\btypeof\s+|[:<|&=]\s*)?\bimport\('([^']+)'\)(\.[A-Z])?/g;

function importsOf(from: string): Import[] {
  const text = readFileSync(join(project, from), 'utf8');
  const found = [
    ...[...text.matchAll(STATEMENT)].map(([, type, name = '']) => ({ name, isType: type !== undefined })),
    ...[...text.matchAll(CALL)].map(([, , name = '', member]) => ({ name, isType: member !== undefined })),
  ];
  return found
    .map(({ name, isType }) => ({ from, to: resolve(from, name), isType }))
    .filter(({ to }) => to.endsWith('.ts'));
}

/** The file that a name stands for. The name itself for a package. */
function resolve(from: string, name: string): string {
  if (name === 'tsvm') return 'sandbox/index.ts';
  return name.startsWith('.') ? normalize(join(dirname(from), name)).replace(/\.js$/, '.ts') : name;
}

const rooms = readTable();
const files = filesOfProject();
const imports = files.flatMap(importsOf);

/** The room of a file: that of the longest path in the table that holds it. */
function roomOf(file: string): Room | undefined {
  const holding = rooms.flatMap((room) => room.paths.map((path) => ({ room, path })));
  return holding
    .filter(({ path }) => file === path || (path.endsWith('/') && file.startsWith(path)))
    .sort((a, b) => b.path.length - a.path.length)[0]?.room;
}

/** Imports of one room by another. */
const crossing = imports.flatMap((each) => {
  const [from, to] = [roomOf(each.from), roomOf(each.to)];
  return from === undefined || to === undefined || from === to ? [] : [{ ...each, room: from, imported: to.name }];
});

/**
 * Returns the nodes of each circle of a graph: its strongly connected parts of more than one node
 * (Tarjan).
 */
function circles(edges: readonly { from: string; to: string }[]): string[][] {
  const next = new Map<string, Set<string>>();
  for (const { from, to } of edges) next.set(from, (next.get(from) ?? new Set()).add(to));
  const indexes = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  /** The lowest index on the stack that a node reaches. */
  const visit = (node: string): number => {
    const index = indexes.size;
    let lowest = index;
    indexes.set(node, index);
    stack.push(node);
    for (const other of next.get(node) ?? []) {
      const seen = indexes.get(other);
      if (seen === undefined) lowest = Math.min(lowest, visit(other));
      else if (stack.includes(other)) lowest = Math.min(lowest, seen);
    }
    if (lowest === index) {
      const part = stack.splice(stack.indexOf(node));
      if (part.length > 1) found.push(part.sort());
    }
    return lowest;
  };
  for (const node of next.keys()) if (!indexes.has(node)) visit(node);
  return found;
}

test('the table has a room for every file, and no room without files', () => {
  expect(files.filter((file) => roomOf(file) === undefined)).toEqual([]);
  const named = rooms.flatMap(({ paths }) => paths);
  expect(named.filter((path) => !files.some((file) => file === path || file.startsWith(path)))).toEqual([]);
  expect(files.length).toBeGreaterThan(200);
});

test('every import is one that the table allows', () => {
  const isAllowed = ({ room, imported, isType }: (typeof crossing)[number]): boolean =>
    rooms.some(({ name, isCommon }) => name === imported && isCommon) ||
    room.values.includes(imported) ||
    (isType && room.types.includes(imported));
  const forbidden = crossing.filter((each) => !isAllowed(each));
  expect(forbidden.map(({ from, to, isType }) => `${from} -> ${isType ? 'types of ' : ''}${to}`)).toEqual([]);
  expect(crossing.length).toBeGreaterThan(200);
});

test('everything that the table allows is used', () => {
  const isUsed = (name: string, imported: string, isType: boolean): boolean =>
    crossing.some((each) => each.room.name === name && each.imported === imported && each.isType === isType);
  const unused = rooms.flatMap(({ name, values, types }) => [
    ...values.filter((imported) => !isUsed(name, imported, false)).map((imported) => `${name} -> ${imported}`),
    ...types.filter((imported) => !isUsed(name, imported, true)).map((imported) => `${name} -> types of ${imported}`),
  ]);
  expect(unused).toEqual([]);
});

test('no files import each other in a circle', () => {
  expect(circles(imports)).toEqual([]);
});

test('no rooms import each other in a circle', () => {
  expect(circles(crossing.map(({ room, imported }) => ({ from: room.name, to: imported })))).toEqual([]);
});

test('a circle is found, and a part that has none is left out', () => {
  const edges = ['ab', 'bc', 'cd', 'db', 'ae', 'ec'].map(([from = '', to = '']) => ({ from, to }));
  expect(circles(edges)).toEqual([['b', 'c', 'd']]);
});
