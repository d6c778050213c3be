// Loads a program of dist/ with the code cache that compile.cjs saved, which saves most of the load
// time. Another V8 has no code there and compiles again.
const { readFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { dirname } = require('node:path');
const { Script } = require('node:vm');

/**
 * Runs the program, a CommonJS function expression whose last line names the file of its code
 * cache.
 * @returns its exports and its script
 */
exports.load = (path) => {
  // esbuild writes ASCII. Node.js 20 reads UTF-8 in pieces of 8 KiB.
  const source = readFileSync(path, 'latin1');
  const script = new Script(source, { filename: path, cachedData: compiled(exports.compiledPath(path, source)) });
  const module = { exports: {} };
  script.runInThisContext()(module.exports, createRequire(path), module, path, dirname(path));
  return { script, exports: module.exports };
};

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
