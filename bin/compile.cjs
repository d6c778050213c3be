// Compiles the command ahead of time (called by build.mjs): runs command lines that need no machine,
// so that V8 compiles what most commands use, and saves V8's code caches. Argument: path of dist/.
// TSVM_HOME must be an empty directory.
const { readFileSync, renameSync, writeFileSync } = require('node:fs');
const { compiledPath, load } = require('./load.cjs');

const WORDS = [
  ['ps', '-a'],
  ['exec', 'none', 'true'],
  ['attach', 'none'],
  ['run', '--rm', 'oci:/none', 'true'],
  ['create', '--help'],
];

async function compile(folder) {
  const { scripts, exports } = load(folder);
  process.exit = () => {};
  process.stdout.write = process.stderr.write = (_text, done) => done?.() ?? true;
  process.setMaxListeners(0);
  for (const words of WORDS) await exports.main(words, '');
  for (const [path, script] of scripts) {
    const file = compiledPath(path, readFileSync(path, 'latin1'));
    writeFileSync(`${file}.new`, script.createCachedData());
    renameSync(`${file}.new`, file);
  }
  process.exitCode = 0;
}

// A command that never settles would end this process without a cache.
process.exitCode = 1;
compile(process.argv[2]);
