"""The Chinese for what is said about devices, precision and memory: a part of the table in ui/sentences_zh.py."""

from __future__ import annotations

MEMORY: tuple[tuple[str, str], ...] = (
    # where a model runs, and what is done when memory runs out
    *(
        (
            f"{where} ({{name}}) in {{precision}}, because {why}; it needs about {{needed}} of {{free}} free.",
            f"{place}（{{name}}）以 {{precision}} 运行，因为{cause}；约需 {{needed}}，空闲 {{free}}。",
        )
        for where, place in (
            ("On the GPU", "在 GPU 上"),
            ("On the Intel GPU", "在 Intel GPU 上"),
            ("On the Apple GPU", "在 Apple GPU 上"),
            ("On the processor", "在处理器上"),
        )
        for why, cause in (
            ("it computes bfloat16 in hardware", "它有 bfloat16 硬件运算"),
            ("this GPU has no bfloat16 arithmetic", "这块 GPU 没有 bfloat16 运算"),
            ("this processor has no bfloat16 arithmetic", "这个处理器没有 bfloat16 运算"),
            (
                "reading the weights takes most of the time of a token, and in 8 bits it takes half of that",
                "生成每个词元的时间大多用于读取权重，而 8 位只需一半的时间",
            ),
            (
                "reading the weights takes most of the time of a token, and these were published in 4 bits",
                "生成每个词元的时间大多用于读取权重，而这些权重发布时就是 4 位",
            ),
            ("8 bits take half the memory of 16", "8 位只占 16 位一半的内存"),
            ("4 bits take the least memory", "4 位占用内存最少"),
            ("you chose it", "这是您的选择"),
        )
    ),
    ("torch finds no device {name} on this computer.", "torch 在这台电脑上找不到设备 {name}。"),
    ("Choose the device auto, or one of: {names}.", "请选择设备 auto，或其中之一：{names}。"),
    (
        "This computer cannot compute with {precision} weights on the device {device}.",
        "这台电脑的设备 {device} 无法用 {precision} 权重运算。",
    ),
    ("This computer cannot compute with {precision} weights.", "这台电脑无法用 {precision} 权重运算。"),
    (
        "This torch has no {precision} kernels for the device {device}.",
        "此 torch 没有用于设备 {device} 的 {precision} 内核。",
    ),
    ("No weights of {model} can be kept in {precision}.", "{model} 没有可以用 {precision} 存放的权重。"),
    ("Choose the precision auto, bfloat16 or float32.", "请选择精度 auto、bfloat16 或 float32。"),
    ("Choose the precision auto or bfloat16.", "请选择精度 auto 或 bfloat16。"),
    *(
        (
            f"{{name}} does not fit: with {{precision}} weights it needs about {{needed}}, and {{free}} are free {on}.",
            f"{{name}} 放不下：以 {{precision}} 权重约需 {{needed}}，而{place}空闲 {{free}}。",
        )
        for on, place in (
            ("on the GPU", " GPU 上"),
            ("on the Intel GPU", " Intel GPU 上"),
            ("on the Apple GPU", " Apple GPU 上"),
            ("in this computer's memory", "这台电脑的内存中"),
        )
    ),
    ("These fit: {names}.", "放得下的有：{names}。"),
    ("Close other programs, or choose a smaller model.", "请关闭其他程序，或选择较小的模型。"),
    (
        "The weights in {folder} are not complete: there must be safetensors files.",
        "{folder} 中的权重不完整：必须有 safetensors 文件。",
    ),
    (
        "Fetch the model again, or choose one that is published as safetensors.",
        "请重新下载该模型，或选择以 safetensors 发布的模型。",
    ),
    ("The weights in {file} cannot be read ({reason}).", "无法读取 {file} 中的权重（{reason}）。"),
    ("Fetch the model again; the file may be cut off.", "请重新下载该模型；文件可能不完整。"),
    ("{file} cannot be read ({reason}).", "无法读取 {file}（{reason}）。"),
    (
        "Name the folder of a checkpoint: config.json and safetensors files.",
        "请指定检查点文件夹：其中有 config.json 和 safetensors 文件。",
    ),
    ("Memory ran out, so what was kept of earlier turns was dropped.", "内存不足，因此丢弃了先前轮次的缓存。"),
    (
        "Memory ran out, so at most {count} frames of a video are looked at.",
        "内存不足，因此每段视频最多查看 {count} 帧。",
    ),
    (
        "Memory ran out, so pictures are looked at with at most {pixels} pixels a side.",
        "内存不足，因此查看图片时边长最多 {pixels} 像素。",
    ),
    (
        "Memory ran out, so {name} goes on on the processor with weights in {precision}, which is slower.",
        "内存不足，因此 {name} 改在处理器上以 {precision} 权重继续，速度较慢。",
    ),
    (
        "Memory ran out, so {name} goes on with weights in {precision}.",
        "内存不足，因此 {name} 改以 {precision} 权重继续。",
    ),
    (
        "{name} did not fit into memory with weights in {before} on {device}, so {precision} on {other} is tried.",
        "{name} 以 {before} 权重放不进 {device} 的内存，因此改试 {other} 上的 {precision}。",
    ),
    (
        "There is memory again, so {name} runs on {device} with weights in {precision}.",
        "内存又够用了，因此 {name} 在 {device} 上以 {precision} 权重运行。",
    ),
    (
        "There is not enough memory for {name}, and nothing is left to make smaller.",
        "内存不足以运行 {name}，而且已没有可以缩小的部分。",
    ),
    (
        "Start a new conversation, attach less, close other programs, or choose a smaller model.",
        "请开始新对话、减少附件、关闭其他程序，或选择较小的模型。",
    ),
)
