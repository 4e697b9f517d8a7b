/** The options of the kit's functions as their types' docstrings tell them: the page of options is made of these. */
import { join } from "node:path";
import { API, type Checker, type Program, type Symbol as Member } from "typescript/unstable/sync";
import { SyntaxKind, type FunctionDeclaration } from "typescript/unstable/ast";

export interface DocumentedOption {
  readonly name: string;
  /** As the docstring has it, without the end of its sentence; `undefined` where the option must be given. */
  readonly fallback: string | undefined;
  readonly meaning: string;
}

/** Who takes options as the last parameter: `idempotency` in `src/http.ts`. */
export interface Owner {
  readonly file: string;
  readonly name: string;
}

/** `Default: X.`, wherever it stands; a full stop within a word does not end it. */
const DEFAULT = /\s*\bDefault: (?<fallback>.+?)\.(?=\s|$)/;

/** @throws {Error} naming an option whose docstring does not say what it is for, or what its default is. */
export function optionsOf(root: string, owners: readonly Owner[]): DocumentedOption[][] {
  using compiler = new Compiler(root);
  return owners.map((owner) => compiler.optionsOf(owner));
}

class Compiler implements Disposable {
  readonly #api: API;
  readonly #root: string;
  readonly #program: Program;
  readonly #checker: Checker;

  constructor(root: string) {
    this.#root = root;
    this.#api = new API({ cwd: root });
    const config = join(root, "tsconfig.json");
    const project = this.#api.updateSnapshot({ openProject: config }).getProject(config);
    if (project === undefined) throw new Error(`${config} is no project.`);
    this.#program = project.program;
    this.#checker = project.checker;
  }

  optionsOf({ file, name }: Owner): DocumentedOption[] {
    const parameter = this.#functionOf(file, name).parameters.at(-1);
    const type = parameter && this.#checker.getTypeAtLocation(parameter);
    const given = type && this.#checker.getNonNullableType(type);
    if (given === undefined) throw new Error(`${name} of ${file} takes no options.`);
    return this.#checker
      .getPropertiesOfType(given)
      .map((option) => documented(name, option, this.#textOf(option), this.#isRequired(option)));
  }

  #functionOf(file: string, name: string): FunctionDeclaration {
    const found = this.#program
      .getSourceFile(join(this.#root, file))
      ?.statements.find(
        (statement): statement is FunctionDeclaration =>
          statement.kind === SyntaxKind.FunctionDeclaration &&
          (statement as FunctionDeclaration).name?.text === name,
      );
    if (found === undefined) throw new Error(`There is no function ${name} in ${file}.`);
    return found;
  }

  #textOf(option: Member): string {
    return this.#checker.getDocumentationCommentOfSymbol(option).replaceAll(/\s+/g, " ").trim();
  }

  #isRequired(option: Member): boolean {
    const type = this.#checker.getTypeOfSymbol(option);
    return type !== undefined && !this.#checker.typeToString(type).endsWith("undefined");
  }

  [Symbol.dispose](): void {
    this.#api.close();
  }
}

function documented(
  owner: string,
  { name }: Member,
  text: string,
  isRequired: boolean,
): DocumentedOption {
  const fallback = DEFAULT.exec(text)?.groups?.["fallback"];
  const meaning = text.replace(DEFAULT, "").trim();
  if (meaning === "")
    throw new Error(`${owner}: the docstring of ${name} does not say what it is.`);
  if (isRequired === (fallback !== undefined)) {
    const wrong = isRequired ? "names a default, and it must be given" : "has no 'Default: X.'";
    throw new Error(`${owner}: the docstring of ${name} ${wrong}.`);
  }
  return { name, fallback, meaning };
}
