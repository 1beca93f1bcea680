from druse import Artifact, FrozenContext, pipeline_step


@pipeline_step()
def scale(data: dict, ctx: FrozenContext):
    from sklearn.preprocessing import StandardScaler

    return {**data, "pixels": StandardScaler().fit_transform(data["pixels"])}


@pipeline_step()
def project(data: dict, ctx: FrozenContext, table: Artifact, components: int = 10):
    from sklearn.decomposition import PCA

    pca = PCA(n_components=components, svd_solver="full")
    projected = pca.fit_transform(data["pixels"])
    table.write({"features": projected, "labels": data["labels"]})
    return projected, {"explained_variance": float(pca.explained_variance_ratio_.sum())}
