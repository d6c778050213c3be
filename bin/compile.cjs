// Compiles the command's program ahead (build.mjs): runs it with words that need no machine, so that V8 has compiled what
// most commands need, and writes that down. Argument: path of the program. TSVM_HOME is to be empty.
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
  const file = compiledPath(path, readFileSync(path, 'utf8'));
  writeFileSync(`${file}.new`, script.createCachedData());
  renameSync(`${file}.new`, file);
}

compile(process.argv[2]);
