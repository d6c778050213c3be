// What a `using` declaration holds is let go of when its block ends. A promise that such a block
// returns without `await` goes on without it.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Expression, type Node, NodeFlags, type SourceFile } from 'typescript/unstable/ast';
import {
  isBlock,
  isFunctionLikeDeclaration,
  isReturnStatement,
  isVariableDeclarationList,
} from 'typescript/unstable/ast/is';
import { API } from 'typescript/unstable/sync';
import { expect, test } from 'vitest';

const project = fileURLToPath(new URL('../../..', import.meta.url));

/** What the blocks of a file return while they hold something. */
function returnedByHolders(file: SourceFile): Expression[] {
  const returned: Expression[] = [];
  const visit = (node: Node, block: { holds: boolean }): void => {
    if (isVariableDeclarationList(node) && (node.flags & NodeFlags.Using) !== 0) block.holds = true;
    if (block.holds && isReturnStatement(node) && node.expression) returned.push(node.expression);
    let inner = block;
    if (isFunctionLikeDeclaration(node)) inner = { holds: false };
    else if (isBlock(node)) inner = { ...block };
    node.forEachChild((child) => visit(child, inner));
  };
  visit(file, { holds: false });
  return returned;
}

test('no block returns a promise while it holds something', () => {
  const api = new API({ cwd: project });
  try {
    const config = `${project}tsconfig.json`;
    using snapshot = api.updateSnapshot({ openProjects: [config] });
    const { program, checker } = snapshot.getProject(config)!;
    const names = program.getSourceFileNames().filter((name) => !name.includes('/node_modules/'));
    expect(names).toContain(fileURLToPath(import.meta.url));
    let looked = 0;
    // Each question is an answer of another process, for which a busy host takes long.
    const holders = names.filter((name) => /\busing\s/.test(readFileSync(name, 'utf8')));
    const promises = holders.flatMap((name) => {
      const file = program.getSourceFile(name)!;
      return returnedByHolders(file).flatMap((node) => {
        looked++;
        const type = checker.getTypeAtLocation(node);
        if (type === undefined || checker.getPropertyOfType(type, 'then') === undefined) return [];
        return [`${name.slice(project.length)}: return ${node.getText(file)}`];
      });
    });
    expect(promises).toEqual([]);
    expect(looked).toBeGreaterThan(50);
  } finally {
    api.close();
  }
});
