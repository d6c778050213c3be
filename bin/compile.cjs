// Compiles the program ahead of time (called by build.mjs): runs commands that need no machine, so
// that V8 compiles what most commands use, and saves V8's code cache. Argument: path of the
// program. TSVM_HOME must be an empty directory.
const { readFileSync, renameSync, writeFileSync } = require('node:fs');
const { compiledPath, load } = require('./load.cjs');

const WORDS = [
  ['ps', '-a'],
  ['exec', 'none', 'true'],
  ['attach', 'none'],
  ['run', '--rm', 'oci:/none', 'true'],
  ['create', '--help'],
];

async function compile(path) {
  const { script, exports } = load(path);
  process.exit = () => {};
  process.stdout.write = process.stderr.write = (_text, done) => done?.() ?? true;
  process.setMaxListeners(0);
  for (const words of WORDS) await exports.main(words, '');
  const file = compiledPath(path, readFileSync(path, 'latin1'));
  writeFileSync(`${file}.new`, script.createCachedData());
  renameSync(`${file}.new`, file);
  process.exitCode = 0;
}

// A command that never settles would end this process without a cache.
process.exitCode = 1;
compile(process.argv[2]);
