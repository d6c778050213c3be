// Compiles the programs ahead of time (called by build.mjs): runs command lines that need no machine,
// so that V8 compiles what most commands use, loads what supervisors and machine processes load,
// and saves V8's code caches. Argument: path of dist/. TSVM_HOME must be an empty directory.
const { readFileSync, renameSync, writeFileSync } = require('node:fs');
const { COMMAND, compiledPath, load } = require('./load.cjs');

const WORDS = [
  ['ps', '-a'],
  ['exec', 'none', 'true'],
  ['attach', 'none'],
  ['run', '--rm', 'oci:/none', 'true'],
  ['create', '--help'],
];

/** The files of programs that run until they are ended, and the piece with which each begins. */
const PROCESSES = [
  ['./main.js', ['machine-start.cjs', 'machine-rest.cjs']],
  ['./supervisor.js', ['supervisor-start.cjs', 'supervisor-run.cjs']],
];

async function compile(folder) {
  for (const [entry, files] of PROCESSES) saveCaches(loadAll(folder, entry, files));
  const { scripts, requirePiece } = load(folder, COMMAND);
  process.exit = () => {};
  process.stdout.write = process.stderr.write = (_text, done) => done?.() ?? true;
  process.setMaxListeners(0);
  const { main } = requirePiece('./main.js');
  for (const words of WORDS) await main(words, '');
  saveCaches(scripts);
  process.exitCode = 0;
}

/** Loads all pieces but the one that begins. Returns the scripts. */
function loadAll(folder, entry, files) {
  const { scripts, requirePiece, namesIn } = load(folder, files);
  for (const index of files.keys()) {
    for (const name of namesIn(index)) if (name !== entry) requirePiece(name);
  }
  return scripts;
}

function saveCaches(scripts) {
  for (const [path, script] of scripts) {
    const file = compiledPath(path, readFileSync(path, 'latin1'));
    writeFileSync(`${file}.new`, script.createCachedData());
    renameSync(`${file}.new`, file);
  }
}

// A command that never settles would end this process without a cache.
process.exitCode = 1;
compile(process.argv[2]);
