// The page's place, after '#' in the address, so that any server can host the page.

export interface Place {
  page: string;
  rest: string;
  params: URLSearchParams;
}

function parse(hash: string): Place {
  const [path = "", search = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [page = "", ...rest] = path.split("/");
  return {
    page: page || "features",
    rest: rest.map(decodeURIComponent).join("/"),
    params: new URLSearchParams(search),
  };
}

class Route {
  place = $state.raw<Place>(parse(location.hash));

  constructor() {
    window.addEventListener("hashchange", () => {
      this.place = parse(location.hash);
    });
  }

  /** Change the page's parameters without a new entry in the history. */
  replace(params: URLSearchParams): void {
    const path = location.hash.replace(/^#\/?/, "").split("?", 1)[0] ?? "";
    const search = params.toString();
    history.replaceState(history.state, "", `#/${path}${search ? `?${search}` : ""}`);
    this.place = parse(location.hash);
  }
}

export const route = new Route();
export const featureHref = (id: string): string =>
  `#/feature/${id.split("/").map(encodeURIComponent).join("/")}`;
export const steerHref = (id: string, picture?: string): string =>
  `#/steer?feature=${encodeURIComponent(id)}${picture ? `&picture=${picture}` : ""}`;
