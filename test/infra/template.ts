/**
 * Checks CloudFormation templates against AWS' own specification, offline: types, properties, what is required, values,
 * and what references lead to. For templates in YAML and for packaged ones in JSON.
 */
import { loadAwsServiceSpec } from "@aws-cdk/aws-service-spec";
import type {
  PropertyType,
  Resource as ResourceSpec,
  ResourceProperties,
  SpecDatabase,
} from "@aws-cdk/service-spec-types";
import { parse, type ScalarTag, type CollectionTag } from "yaml";

type Tree = Readonly<Record<string, unknown>>;

export interface Resource {
  readonly Type?: string;
  readonly Properties?: Tree;
  readonly DeletionPolicy?: string;
  readonly UpdateReplacePolicy?: string;
}

export interface Template {
  readonly Parameters?: Readonly<Record<string, unknown>>;
  readonly Resources?: Readonly<Record<string, Resource>>;
  readonly Outputs?: Readonly<Record<string, unknown>>;
}

/** What CloudFormation fills in, of a type that only it knows. */
const INTRINSIC = /^(Ref|Condition|Fn::\w+)$/;

/** Beside `Type` and `Properties`. */
const RESOURCE_ATTRIBUTES = new Set([
  "Type",
  "Properties",
  "DependsOn",
  "Condition",
  "Metadata",
  "DeletionPolicy",
  "UpdateReplacePolicy",
  "UpdatePolicy",
  "CreationPolicy",
]);

const scalar = (tag: string, name: string, value = (text: string): unknown => text): ScalarTag => ({
  tag,
  resolve: (text) => ({ [name]: value(text) }),
});

const TAGS: (ScalarTag | CollectionTag)[] = [
  scalar("!Ref", "Ref"),
  scalar("!Sub", "Fn::Sub"),
  scalar("!GetAtt", "Fn::GetAtt", (text) => text.split(".", 2)),
];

export function readTemplate(text: string): Template {
  return parse(text, { customTags: TAGS }) as Template;
}

/** Everything that CloudFormation would refuse and the specification knows of. */
export async function mistakesIn(template: Template): Promise<string[]> {
  const checker = new Checker(await loadAwsServiceSpec(), template);
  for (const [name, resource] of Object.entries(template.Resources ?? {})) {
    checker.resource(name, resource);
  }
  checker.references("Outputs", template.Outputs);
  return checker.mistakes;
}

class Checker {
  readonly mistakes: string[] = [];
  readonly #spec: SpecDatabase;
  readonly #template: Template;

  constructor(spec: SpecDatabase, template: Template) {
    this.#spec = spec;
    this.#template = template;
  }

  resource(name: string, resource: Resource): void {
    for (const attribute of Object.keys(resource)) {
      if (!RESOURCE_ATTRIBUTES.has(attribute)) this.mistakes.push(`${name}: unknown ${attribute}`);
    }
    const spec = this.#specOf(resource.Type);
    if (spec === undefined) {
      this.mistakes.push(`${name}: unknown type ${resource.Type}`);
      return;
    }
    this.#properties(name, resource.Properties ?? {}, spec.properties);
    this.references(name, resource.Properties);
  }

  references(path: string, value: unknown): void {
    if (typeof value !== "object" || value === null) return;
    for (const [name, inner] of Object.entries(value)) {
      if (name === "Ref") this.#target(path, String(inner));
      else if (name === "Fn::GetAtt") this.#attribute(path, inner);
      else if (name === "Fn::Sub") this.#substitution(path, inner);
      else this.references(`${path}.${name}`, inner);
    }
  }

  #specOf(type: string | undefined): ResourceSpec | undefined {
    return this.#spec.lookup("resource", "cloudFormationType", "equals", type ?? "")[0];
  }

  #properties(path: string, given: Tree, known: ResourceProperties): void {
    for (const [name, value] of Object.entries(given)) {
      const property = known[name];
      if (property === undefined) this.mistakes.push(`${path}: unknown property ${name}`);
      else this.#value(`${path}.${name}`, value, property.type);
    }
    for (const [name, { required }] of Object.entries(known)) {
      if (required === true && !(name in given)) this.mistakes.push(`${path}: ${name} is missing`);
    }
  }

  #value(path: string, value: unknown, type: PropertyType): void {
    if (isIntrinsic(value)) return;
    const wrong = (): void => void this.mistakes.push(`${path}: is no ${type.type}`);
    switch (type.type) {
      case "ref": {
        if (!isTree(value)) return wrong();
        const { properties } = this.#spec.get("typeDefinition", type.reference.$ref);
        return this.#properties(path, value, properties);
      }
      case "array":
        if (!Array.isArray(value)) return wrong();
        return value.forEach((one, at) => this.#value(`${path}[${at}]`, one, type.element));
      case "map":
        if (!isTree(value)) return wrong();
        return Object.entries(value).forEach(([name, one]) =>
          this.#value(`${path}.${name}`, one, type.element),
        );
      case "string":
        if (typeof value !== "string") return typeof value === "object" ? wrong() : undefined;
        if (type.allowedValues?.includes(value) === false) {
          this.mistakes.push(`${path}: '${value}' is none of ${type.allowedValues.join()}`);
        }
        return undefined;
      case "boolean":
        return /^(true|false)$/.test(String(value)) ? undefined : wrong();
      case "integer":
      case "number":
        return Number.isFinite(Number(value)) ? undefined : wrong();
      case "date-time":
      case "json":
      case "null":
      case "tag":
      case "union":
        // Free in form, or CloudFormation itself is not strict.
        return undefined;
    }
  }

  #target(path: string, name: string): void {
    const { Parameters = {}, Resources = {} } = this.#template;
    if (name.startsWith("AWS::") || name in Parameters || name in Resources) return;
    this.mistakes.push(`${path}: nothing is named ${name}`);
  }

  #attribute(path: string, value: unknown): void {
    const [name = "", attribute = ""] = Array.isArray(value)
      ? (value as string[])
      : String(value).split(".", 2);
    this.#target(path, name);
    const type = this.#template.Resources?.[name]?.Type;
    const spec = this.#specOf(type);
    if (spec !== undefined && !(attribute in spec.attributes)) {
      this.mistakes.push(`${path}: ${type} has no attribute ${attribute}`);
    }
  }

  #substitution(path: string, value: unknown): void {
    const [text, local = {}] = (Array.isArray(value) ? value : [value]) as [string, Tree?];
    for (const [, name = ""] of text.matchAll(/\$\{([^!}][^}]*)\}/g)) {
      if (name in local) continue;
      if (name.includes(".")) this.#attribute(path, name);
      else this.#target(path, name);
    }
  }
}

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isIntrinsic(value: unknown): boolean {
  const names = isTree(value) ? Object.keys(value) : [];
  return names.length === 1 && INTRINSIC.test(names[0] as string);
}
