// Loads a program of dist/ with the code cache that compile.cjs saved, which saves most of the load
// time. V8 rejects a cache of another V8 version and compiles again.
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
 * The path of a program's code cache. It includes a hash of the source, as V8 does not check the
 * source itself.
 */
exports.compiledPath = (path, source) => `${path}.${source.slice(source.lastIndexOf('//') + 2).trim()}`;

function compiled(path) {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}
