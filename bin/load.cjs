// Loads a program of dist/ with what V8 compiled of it when it was built (compile.cjs), which spares most of the time that
// loading takes. V8 refuses what another version of it has compiled, and compiles anew.
const { readFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { dirname } = require('node:path');
const { Script } = require('node:vm');

/**
 * Runs the program, a function expression of CommonJS, whose last line names the file of its compiled code.
 * @returns what it exports, and its script
 */
exports.load = (path) => {
  const source = readFileSync(path, 'utf8');
  const script = new Script(source, { filename: path, cachedData: compiled(exports.compiledPath(path, source)) });
  const module = { exports: {} };
  script.runInThisContext()(module.exports, createRequire(path), module, path, dirname(path));
  return { script, exports: module.exports };
};

/** Where the compiled code of a program is: what was compiled of another source would be taken for that of this one. */
exports.compiledPath = (path, source) => `${path}.${source.slice(source.lastIndexOf('//') + 2).trim()}`;

function compiled(path) {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}
