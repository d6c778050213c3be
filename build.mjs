// Bundles the programs into dist/: the command, the supervisor and the machine process (few files
// each, compiled ahead), the vCPU worker, the SDK, the service, koffi, the lab, the benchmarks and
// the examples. It also builds the guest agent's initramfs, the launcher of jails, and the gauge of
// `tsvm compare`.
//
// The output depends on the sources and the modules alone, except for V8's compiled code.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const dist = fileURLToPath(new URL('dist/', import.meta.url));

const common = {
  outdir: dist,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  logLevel: 'warning',
};

/** What the product's programs have in common. They load koffi from dist/, those of the tests from node_modules. */
const product = {
  ...common,
  external: ['koffi'],
  define: { KOFFI: '"./koffi/index.cjs"' },
  minifySyntax: true,
  // V8 keeps the source of a program in memory. Lines stay short for stack traces.
  minifyWhitespace: true,
  lineLimit: 160,
  legalComments: 'none',
  metafile: true,
};

/** For ES modules: CommonJS packages inside a bundle ask for `require`. */
const banner = {
  js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
};

/** Replaces a file: programs that run from dist survive a build. */
function replace(path, data) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, data);
  renameSync(`${path}.new`, path);
}

/**
 * The outputs with an entry point that `isEntry` names, and those that they import.
 * @param follows whether an import counts
 */
function reached({ outputs }, isEntry, follows) {
  const found = new Set();
  const visit = (path) => {
    if (found.has(path) || outputs[path] === undefined) return;
    found.add(path);
    for (const next of outputs[path].imports) if (follows(next)) visit(next.path);
  };
  for (const [path, { entryPoint }] of Object.entries(outputs)) if (isEntry(entryPoint)) visit(path);
  return found;
}

const PROGRAMS = {
  template: 'sandbox/run/template-process.ts',
  egress: 'sandbox/egress/main.ts',
  keeper: 'oci/keeper/main.ts',
  sdk: 'sandbox/index.ts',
};
const GROUNDS = { lab: 'test/lab/main.ts', bench: 'test/bench/main.ts' };
const ENTRIES = new Set(Object.values({ ...PROGRAMS, ...GROUNDS }));

/** SQLite's program for this platform lies beside the bundles, and nothing looks for others. */
const SQLITE = 'node_modules/@photostructure/sqlite/prebuilds/linux-x64/@photostructure+sqlite.glibc.node';
const sqlite = {
  name: "SQLite's program",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node-gyp-build$/ }, () => ({ path: 'program', namespace: 'sqlite' }));
    onLoad({ filter: /./, namespace: 'sqlite' }, () => ({
      contents: "export default () => require('./sqlite.node');",
    }));
    onResolve({ filter: /sqlite\.node$/ }, ({ path }) => ({ path, external: true }));
  },
};

const programs = await build({
  ...product,
  entryPoints: PROGRAMS,
  splitting: true,
  plugins: [sqlite],
  banner,
});

// One file: Node.js remembers a chunk that it could not load, so a server that meets a lack of
// descriptors, or whose package is replaced, would fail until its end.
const service = await build({
  ...product,
  entryPoints: { service: 'service/index.ts' },
  plugins: [sqlite],
  banner,
});
replace(join(dist, 'sqlite.node'), readFileSync(SQLITE));

/** Those that Node.js itself has loaded before a program begins. */
const LOADED = ['buffer', 'events', 'fs', 'path', 'process', 'url', 'util'];
const late = builtinModules.filter((name) => !LOADED.includes(name)).join('|');

/** A program in pieces, which make files that load.cjs loads. */
const inPieces = (entry) => build({ ...product, entryPoints: [entry], splitting: true, write: false });

/**
 * The pieces that are loaded before anything is imported by a call, if these modules are imported.
 * @throws Error if one is not imported by a call
 */
function neededBy({ metafile }, modules) {
  const entries = new Set(Object.values(metafile.outputs).map(({ entryPoint }) => entryPoint));
  const missing = modules.filter((name) => !entries.has(name));
  if (missing.length > 0) throw new Error(`build.mjs names what no program begins with: ${missing.join(', ')}`);
  return reached(
    metafile,
    (entryPoint) => modules.includes(entryPoint),
    ({ kind }) => kind !== 'dynamic-import',
  );
}

/** By its name, the text of each file that load.cjs loads, of itself, and of the files that start it. */
const scripts = new Map([['load.cjs', readFileSync('bin/load.cjs', 'utf8')]]);

/**
 * Makes the files of a program. Each has the pieces that its modules need and no earlier file has.
 * Those that no module of the list needs are in the last one.
 * @param files names of files and the modules that each is for
 */
async function buildFiles(pieces, files) {
  const taken = new Set();
  for (const [index, [file, modules]] of files.entries()) {
    const needed = neededBy(pieces, modules);
    const isLast = index === files.length - 1;
    const part = new Map();
    for (const { path, text } of pieces.outputFiles) {
      const name = relative('.', path);
      if (taken.has(name) || !(isLast || needed.has(name))) continue;
      taken.add(name);
      part.set(`./${basename(path)}`, text);
    }
    scripts.set(file, await scriptOf(part));
  }
}

/** One file of pieces of a program. load.cjs asks it for a piece by its name. */
async function scriptOf(part) {
  const piece = (name) => `${JSON.stringify(name)}: () => require(${JSON.stringify(name)})`;
  const {
    outputFiles: [{ text }],
  } = await build({
    ...product,
    stdin: { contents: `module.exports = { ${[...part.keys()].map(piece).join(', ')} };` },
    metafile: false,
    format: 'cjs',
    write: false,
    plugins: [
      {
        name: 'pieces',
        setup({ onResolve, onLoad }) {
          onResolve({ filter: /^\.\/.*\.js$/ }, ({ path }) =>
            part.has(path) ? { path, namespace: 'piece' } : { path, external: true },
          );
          onLoad({ filter: /./, namespace: 'piece' }, ({ path }) => ({ contents: part.get(path) }));
        },
      },
    ],
    // load.cjs runs it as a script, in which Node.js 20 knows no `import()`.
    supported: { 'dynamic-import': false },
    define: { 'import.meta.url': '__url' },
    banner: {
      js: "(function (exports, require, module, __filename, __late) { const __url = require('node:url').pathToFileURL(__filename).href;",
    },
    footer: { js: '})' },
  });
  const program = text
    // esbuild wraps each piece in an object whose one key is the piece's name. V8 makes a shape for
    // each key, and looks through all earlier ones for it. Under one key all objects have one shape.
    .replace(/\b((?:__esm|__commonJS)\w*)\(\s*\{\s*"[^"]+"\s*\(/g, '$1({module(')
    // Of a module of Node.js that a file imports, a command often uses nothing.
    .replace(
      new RegExp(`=\\s*(?:__)?require\\w*\\(\\s*("(?:node:)?(?:${late})")\\s*\\)(?=\\s*[;,}])`, 'g'),
      '=__late($1)',
    );
  return `${program}//${sha256(program)}\n`;
}

function sha256(text) {
  return createHash('sha256').update(text).digest('hex');
}

/** What Node.js is to run for a program of these files. */
const startOf = (entry, files) =>
  `require('./load.cjs').load(__dirname, ${JSON.stringify(files)}).requirePiece('./${entry}.js');\n`;

// The command is three files. Finding and loading many costs more than reading one whose code V8 has
// mostly compiled already, but a short command mostly loads itself. So `cli.cjs` has what `exec` loads
// before it imports anything by a call, `cli-short.cjs` what the commands below need besides, and
// `cli-rest.cjs` all else.
const SHORT = ['attach', 'kill', 'logs', 'pause', 'port', 'ps', 'rm', 'stats', 'stop', 'top', 'wait'];
const command = await inPieces('cli/main.ts');
const commands = (...names) => names.map((name) => `cli/commands/container/${name}.ts`);
await buildFiles(command, [
  ['cli.cjs', ['cli/main.ts', 'cli/program.ts', ...commands('exec')]],
  ['cli-short.cjs', commands(...SHORT)],
  ['cli-rest.cjs', []],
]);

// The thread of a vCPU begins while the rest of the machine process loads.
const [vcpu] = (
  await build({
    ...product,
    entryPoints: { vcpu: 'vmm/accel/kvm/vcpu-worker.ts' },
    outExtension: { '.js': '.cjs' },
    format: 'cjs',
    define: { ...product.define, 'import.meta.url': '__url' },
    banner: { js: "const __url = require('node:url').pathToFileURL(__filename).href;" },
    write: false,
  })
).outputFiles;
scripts.set('vcpu.cjs', vcpu.text);
const machine = await inPieces('vmm/process/main.ts');
await buildFiles(machine, [
  ['machine-start.cjs', ['vmm/process/main.ts']],
  ['machine-rest.cjs', []],
]);
// A saved machine is continued only by the program that saved it: this file names all that it loads.
const digests = ['load.cjs', 'machine-start.cjs', 'machine-rest.cjs', 'vcpu.cjs'].map(
  (file) => `// ${file} ${sha256(scripts.get(file))}\n`,
);
scripts.set('machine.cjs', digests.join('') + startOf('main', ['machine-start.cjs', 'machine-rest.cjs']));

// The machine process begins while the rest of the supervisor loads. What few containers need, such
// as the registry and the build of kernels, is not read for the others.
const supervisor = await inPieces('sandbox/supervision/supervisor.ts');
await buildFiles(supervisor, [
  ['supervisor-start.cjs', ['sandbox/supervision/supervisor.ts']],
  [
    'supervisor-run.cjs',
    [
      ...['home/home', 'home/container-record', 'supervision/supervision', 'machine/outside'].map(
        (name) => `sandbox/${name}.ts`,
      ),
      ...['images/index.ts', 'images/store/holders.ts'],
    ],
  ],
  ['supervisor-rest.cjs', []],
]);
scripts.set(
  'supervisor.cjs',
  startOf('supervisor', ['supervisor-start.cjs', 'supervisor-run.cjs', 'supervisor-rest.cjs']),
);

// At once: a program that starts meanwhile has all of one build.
for (const [file, text] of scripts) replace(join(dist, file), text);

// The page of `tsvm compare`, with the library of its plots, which no other command loads.
const comparePage = await build({
  ...product,
  entryPoints: { 'compare-page': 'compare/page/page.ts' },
  outExtension: { '.js': '.cjs' },
  format: 'cjs',
  minify: true,
  // linkedom can use it, if it is there, for an element that no plot has.
  external: ['canvas'],
});

// The script of the page of `tsvm serve`, which runs in browsers.
const servePage = await build({
  ...product,
  entryPoints: { 'serve-page': 'service/page/main.ts' },
  platform: 'browser',
  target: 'es2023',
  minify: true,
});

// koffi: its loader, and its program for this platform. So an installed package needs no other.
const KOFFI_PROGRAM = '@koromix/koffi-linux-x64';
const koffi = await build({
  ...product,
  entryPoints: { 'koffi/index': 'node_modules/koffi/index.cjs' },
  outExtension: { '.js': '.cjs' },
  format: 'cjs',
  plugins: [
    {
      name: 'the program of this platform',
      setup({ onResolve }) {
        const path = (name) => (name === KOFFI_PROGRAM ? './linux-x64/index.js' : name);
        onResolve({ filter: /^@koromix\// }, (wanted) => ({ path: path(wanted.path), external: true }));
      },
    },
  ],
});
for (const file of ['package.json', 'index.js', 'linux_x64/koffi.node']) {
  replace(join(dist, 'koffi/linux-x64', file), readFileSync(join('node_modules', KOFFI_PROGRAM, file)));
}

// The command runs for this, with koffi.
const empty = mkdtempSync(join(tmpdir(), 'tsvm-build-'));
execFileSync(process.execPath, ['bin/compile.cjs', dist], {
  env: { ...process.env, TSVM_HOME: empty, XDG_RUNTIME_DIR: empty },
  stdio: 'inherit',
});
rmSync(empty, { recursive: true });

/** The licences of the packages that are part of the bundles: they must come with each copy. */
function licences() {
  const inputs = [programs, service, command, machine, supervisor, comparePage, servePage, koffi].flatMap(
    ({ metafile }) => Object.keys(metafile.inputs),
  );
  const names = inputs.map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]);
  return [...new Set(names.filter((name) => name !== undefined))].sort().map((name) => {
    const folder = join('node_modules', name);
    const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e(\.|$)/i.test(entry));
    const text = file === undefined ? '' : `\n${readFileSync(join(folder, file), 'utf8').trim()}\n`;
    return `${name} ${version} (${license})\n${text}`;
  });
}
replace(join(dist, 'licences.txt'), licences().join(`\n${'-'.repeat(80)}\n\n`));

// The lab, the benchmarks and what tests run. None of it is installed.
const tests = ['fleet', 'random-kills', 'rollbacks'];
const grounds = await build({
  ...common,
  entryPoints: GROUNDS,
  chunkNames: 'test-[hash]',
  splitting: true,
  external: ['koffi'],
  metafile: true,
  banner,
});
await build({ ...common, entryPoints: tests.map((name) => `test/e2e/${name}.ts`), external: ['tsvm'] });

// The examples import the package by its name, as a user's program does.
const examples = readdirSync(new URL('examples/', import.meta.url)).filter((name) => name.endsWith('.ts'));
await build({
  ...common,
  entryPoints: examples.map((name) => `examples/${name}`),
  outdir: join(dist, 'examples'),
  external: ['tsvm'],
});

// The network device of the benchmark `flows` is a process of its own.
await build({
  ...common,
  entryPoints: ['test/fixtures/flows/device.ts'],
  outdir: undefined,
  outfile: join(dist, 'bench/device.mjs'),
  external: ['koffi'],
});

/** The outputs that a program loads. esbuild also writes a chunk that only code without a use would load. */
function loaded(metafile) {
  return [
    ...reached(
      metafile,
      (entryPoint) => ENTRIES.has(entryPoint),
      () => true,
    ),
  ];
}

// Programs that run from dist survive a build: files are replaced first, and old chunks removed
// last.
const outputs = [programs, grounds].flatMap(({ metafile }) => loaded(metafile));
const built = new Set([
  ...outputs.map((path) => basename(path)),
  'service.js',
  'serve-page.js',
  ...tests.map((name) => `${name}.js`),
]);
for (const name of readdirSync(dist)) {
  if (name.endsWith('.js') && !built.has(name)) rmSync(join(dist, name));
}
// A code cache has the digest of its script in its name.
for (const name of readdirSync(dist)) {
  const [file, digest = ''] = name.split(/(?<=\.cjs)\./);
  const isCurrent = file === 'compare-page.cjs' || scripts.get(file)?.includes(digest.slice(0, 64)) === true;
  if (file.endsWith('.cjs') && !isCurrent) rmSync(join(dist, name));
}

// `--programs`: only what Node.js runs. The agent and the launcher need a C compiler.
if (!process.argv.includes('--programs')) {
  for (const folder of ['guest-agent', 'jail', 'oci/command', 'compare/gauge']) {
    // To dist by a relative path: make knows no path with a space.
    execFileSync('make', ['-s', '-C', folder], { stdio: 'inherit' });
  }
}
