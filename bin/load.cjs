// Loads a program whose pieces are in some files of dist/, with the code caches that compile.cjs
// saved, which saves most of the load time. Another V8 has no code there and compiles again.
// build.mjs copies this file to dist/, since a machine process in a jail cannot read bin/.
const { readFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { join } = require('node:path');
const { Script } = require('node:vm');

/** What `exec` needs, what other short commands need besides, and all else (build.mjs). */
exports.COMMAND = ['cli.cjs', 'cli-short.cjs', 'cli-rest.cjs'];

/**
 * Loads a file when a piece of it is needed, and those before it.
 * @param folder path of dist/
 * @param files the program's, in the order of their need
 * @returns what loads a piece by its name, what loads a file by its index and gives the names of
 * its pieces, and the scripts so far by the paths of their files
 */
exports.load = (folder, files) => {
  const scripts = new Map();
  const made = new Map();
  const pieces = [];
  const nodeRequire = createRequire(join(folder, files[0]));
  const piecesOf = (index) => {
    pieces[index] = pieces[index] || run(join(folder, files[index]));
    return pieces[index];
  };
  const piece = (name) => {
    for (const index of files.keys()) {
      if (Object.hasOwn(piecesOf(index), name)) return piecesOf(index)[name]();
    }
    return nodeRequire(name);
  };
  const requirePiece = (name) => {
    if (!name.startsWith('./')) return nodeRequire(name);
    if (!made.has(name)) made.set(name, piece(name));
    return made.get(name);
  };
  const run = (path) => {
    const module = { exports: {} };
    scripts.set(path, readScript(path));
    scripts.get(path).runInThisContext()(module.exports, requirePiece, module, path, late);
    return module.exports;
  };
  return { scripts, requirePiece, namesIn: (index) => Object.keys(piecesOf(index)) };
};

/** A file is a CommonJS function expression whose last line names the file of its code cache. */
function readScript(path) {
  // esbuild writes ASCII. Node.js 20 reads UTF-8 in pieces of 8 KiB.
  const source = readFileSync(path, 'latin1');
  return new Script(source, { filename: path, cachedData: compiled(exports.compiledPath(path, source)) });
}

/**
 * A module of Node.js, which is loaded when something of it is used. `require` takes some microseconds
 * each time: the module is kept.
 */
function late(name) {
  let module;
  const get = (_, key) => {
    module = module || require(name);
    return module[key];
  };
  return new Proxy({}, { get });
}

/**
 * Imports an ES module. A script that `load` runs cannot: Node.js 20 knows no module for it.
 */
exports.importModule = (url) => import(url);

/**
 * The path of a program's code cache. It includes a hash of the source and the whole version of V8.
 * V8 checks neither the source nor Node.js' part of its version: Node.js 20.15 takes code of 20.20,
 * and crashes.
 */
exports.compiledPath = (path, source) =>
  `${path}.${source.slice(source.lastIndexOf('//') + 2).trim()}.${process.versions.v8}`;

function compiled(path) {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}
